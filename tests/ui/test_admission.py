"""Nobody takes everything: places, memory, files and what is remembered are bounded in sum."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch

from dpm_demo.engine.events import Done
from dpm_demo.engine.inline import run_inline
from dpm_demo.engine.worker import Engine
from dpm_demo.models.exact import mixture_model
from dpm_demo.models.library import ModelLibrary
from dpm_demo.request.codec import read
from dpm_demo.request.job import Checked, job_memory
from dpm_demo.request.limits import Limits, memory_needed
from dpm_demo.ui.admission import Admission, Refused
from dpm_demo.ui.folder import own_folder
from dpm_demo.ui.kept import Kept, Newest, kept_bytes
from dpm_demo.ui.lines import OneLine, one_line
from dpm_demo.ui.serving import WRITING_MAX, Serving

MODEL = mixture_model(torch.device("cpu"))
REQUEST = Checked.of(read({"model": "mixture", "nfe": 5, "count": 2}), MODEL)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    limits = Limits(requests=6, session=2, address=3)
    one = Serving(Engine(), ModelLibrary("cpu", root=tmp_path), limits)
    yield one
    one.close()


def visitor(session: str, host: str = "") -> Any:
    return SimpleNamespace(session_hash=session, client=SimpleNamespace(host=host))


# --- places ---------------------------------------------------------------------------------------


def test_places_are_bounded_by_page_by_address_and_in_all_and_come_back() -> None:
    admission = Admission(Limits(requests=4, session=2, address=3))
    with ExitStack() as held:
        for session in "aab":
            held.enter_context(admission.place(session, "one"))
        for asked, words in (
            (("a", "two"), "2 runs of this page"),
            (("c", "one"), "3 runs of your address"),
        ):
            with pytest.raises(Refused, match=words), admission.place(*asked):
                pass
        held.enter_context(admission.place("d", "two"))
        with pytest.raises(Refused, match="4 runs are under way or waiting"):
            held.enter_context(admission.place("e", "three"))
        assert len(admission) == 4
    assert len(admission) == 0


def test_one_address_never_holds_every_place() -> None:
    assert all(Limits(requests=n).of_address < n for n in range(2, 70))


def test_memory_is_bounded_in_sum_and_who_is_alone_has_room() -> None:
    admission = Admission(Limits(memory_sum=100))
    with admission.place("a") as first:
        admission.hold(first, 5000)
        with (
            admission.place("b") as second,
            pytest.raises(Refused, match="other runs under way may need"),
        ):
            admission.hold(second, 1)
        first.bytes = 60
        with admission.place("b") as second:
            admission.hold(second, 40)
            admission.hold(second, 30)  # its next job is smaller
            assert admission.bytes == 100
        assert admission.bytes == 60


def test_a_jobs_memory_is_that_of_its_request() -> None:
    assert job_memory(REQUEST.job()) == memory_needed([5, 5], REQUEST.numbers)
    silent = REQUEST.job([REQUEST.track(pictures=False)])
    assert job_memory(silent) == memory_needed([], REQUEST.numbers, 2) < job_memory(REQUEST.job())


def test_runs_take_places_until_they_end_and_a_refusal_is_one_sentence(serving: Serving) -> None:
    async def all_of_them() -> list[str]:
        going, said = asyncio.Event(), list[str]()

        async def handler() -> Any:
            yield "began"
            await going.wait()

        event = serving.stoppable("generate", handler)
        running = [event(visitor("a", "one")), event(visitor("a", "one"))]
        for one in running:
            assert await anext(one) == "began"
        for who in (visitor("a", "one"), visitor("b", "two")):
            try:
                assert await anext(event(who)) == "began"
            except gr.Error as error:
                said.append(error.message)
                assert not error.print_exception
        going.set()
        for one in running:
            assert [step async for step in one] == []
        return said

    said = asyncio.run(all_of_them())
    assert len(said) == 1 and "2 runs of this page" in said[0]


def test_a_job_holds_its_memory_while_it_runs(serving: Serving) -> None:
    async def once() -> Any:
        seen = []
        async for event in serving.run(REQUEST.job(), "test"):
            seen.append(serving.admission.bytes)
            last = event
        return seen, last

    seen, last = asyncio.run(once())
    assert isinstance(last, Done) and set(seen) == {job_memory(REQUEST.job())}
    assert serving.admission.bytes == 0 and len(serving.admission) == 0


# --- what is kept ---------------------------------------------------------------------------------


@dataclass
class Thing:
    arrays: tuple[np.ndarray, ...]


def test_arrays_and_texts_are_counted_once_wherever_they_are() -> None:
    base = np.zeros(1000, np.uint8)
    thing = Thing((base, base[:10], np.ones(5, np.float32)))
    assert kept_bytes({"a": [thing, thing], "b": "x" * 50}) == 1070


def test_what_a_run_has_made_is_counted_though_torch_made_it() -> None:
    *_, done = run_inline(REQUEST.job())
    assert isinstance(done, Done)
    (track,) = done.tracks
    pictures = sum(row.x0.nbytes + row.x.nbytes for row in track.rows)
    assert kept_bytes(done) == pictures + track.samples.nbytes
    assert kept_bytes(np.frombuffer(bytes(100), np.uint8)) == 100


def test_finished_runs_are_kept_in_bytes_and_the_oldest_go() -> None:
    kept: Kept[Thing] = Kept(1000)
    for name in "abc":
        kept.put(name, Thing((np.zeros(400, np.uint8),)))
    assert kept.bytes == 800 and kept.get("c") and kept.get("b")
    kept.put("c", Thing((np.zeros(100, np.uint8),)))
    assert kept.bytes == 500
    kept.put("huge", Thing((np.zeros(2000, np.uint8),)))
    for gone in ("a", "huge"):
        with pytest.raises(gr.Error, match="no longer kept"):
            kept.get(gone)


def test_what_is_remembered_of_visitors_does_not_grow() -> None:
    newest: Newest[int, int] = Newest(3)
    for k in range(100):
        newest[k] = k
    assert list(newest) == [97, 98, 99]


# --- files ----------------------------------------------------------------------------------------


def test_files_do_not_hold_up_previews_and_too_many_are_refused(serving: Serving) -> None:
    async def busy() -> str:
        stuck = threading.Event()
        writing = [asyncio.ensure_future(serving.write(stuck.wait)) for _ in range(WRITING_MAX)]
        await asyncio.sleep(0)
        assert await serving.encode(lambda: "preview") == "preview"
        with pytest.raises(gr.Error, match=f"files of {WRITING_MAX} runs") as refused:
            await serving.write(lambda: None)
        stuck.set()
        await asyncio.gather(*writing)
        assert await serving.write(lambda: "next") == "next"
        return refused.value.message

    assert "try again" in asyncio.run(busy())


def test_a_full_disk_is_one_sentence(serving: Serving) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    async def write() -> None:
        await serving.write(full)

    with pytest.raises(gr.Error, match="could not be written here") as caught:
        asyncio.run(write())
    assert "Errno" not in caught.value.message


PROGRAM = """
import os, sys
from dpm_demo.ui.folder import own_folder
folder = own_folder()
assert os.environ["GRADIO_TEMP_DIR"] == str(folder) and own_folder() is folder
(folder / "mine.txt").write_text("x")
print(folder)
"""


@pytest.mark.parametrize("given", ["shared", "missing", ""])
def test_the_folder_is_its_own_and_gone_at_exit_and_others_files_stay(
    tmp_path: Path, given: str
) -> None:
    others = tmp_path / "shared" / "theirs.txt"
    others.parent.mkdir()
    others.write_text("y")
    os.utime(others, (0, 0))
    env = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path / given) if given else ""}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True
    )
    made = Path(done.stdout.strip())
    assert not made.exists() and others.read_text() == "y"
    assert not given or made.parent == tmp_path / given


def test_generated_files_lie_in_that_folder(serving: Serving) -> None:
    path = serving.path("x.png")
    assert own_folder() in path.parents and path.parent != serving.path("x.png").parent


# --- log lines ------------------------------------------------------------------------------------


def test_what_a_visitor_typed_stays_on_its_line() -> None:
    assert one_line("a\nINFO b\x1b[31m\u2028λ") == "a\\nINFO b\\x1b[31m\\u2028λ"
    assert len(one_line("x" * 5000)) <= 1000
    record = logging.LogRecord("n", logging.INFO, "", 0, "hello %s", ("a\r\nb",), None)
    assert OneLine("%(levelname)s %(message)s").format(record) == "INFO hello a\\r\\nb"
