"""A visitor sees how far the download of another's model is, in the tab's own note."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from playwright.sync_api import Browser, Page, expect

from dpm_demo.engine.worker import Engine
from dpm_demo.models import library
from dpm_demo.models.diffusers.offered import Offered
from dpm_demo.models.diffusers.unconditional import load_diffusers
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.model import CheckpointError
from dpm_demo.ui.page import build, serve
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.stop import STOP, Stop
from dpm_demo.ui.widgets.controls import LabelControls
from tests.ui.visitor import PATIENCE

HASH = "0123456789abcdef0123456789abcdef01234567"
FACES = Offered("owner/faces", "CelebA-HQ faces, 32 × 32", 32, 1234, "apache-2.0", HASH)
NAME = "hub:owner/faces"


class StandIn:
    """A hub that sends as much as a test lets it, and then the tiny pipeline of a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder, self.fetches, self.fails = folder, 0, False
        self.fraction = 0.0
        self.loads = threading.Event()
        self.changed = threading.Condition()
        monkeypatch.setattr(library, "answering", lambda models: frozenset(m.id for m in models))
        monkeypatch.setattr(library, "on_disk", lambda model: False)
        monkeypatch.setattr(library, "fetch_pipeline", self.fetch)
        monkeypatch.setattr(library, "load_from_hub", self.load)

    def send(self, fraction: float, fails: bool = False) -> None:
        with self.changed:
            self.fraction, self.fails = fraction, fails
            self.changed.notify_all()

    def fetch(self, name: str, allow: bool, revision: str, *, progress: Any, max_bytes: int) -> Any:
        self.fetches += 1
        assert revision == HASH
        with self.changed:
            while self.fraction < 1:
                if self.fails:
                    raise CheckpointError(f"{name} could not be fetched; check the network.")
                progress(self.fraction)
                assert self.changed.wait(120)
        return self.folder

    def load(self, name: str, *args: Any, **kwargs: Any) -> Any:
        assert self.loads.wait(120)
        return load_diffusers(self.folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=32,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    path = tmp_path_factory.mktemp("hub") / "faces"
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(path)
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> StandIn:
    return StandIn(monkeypatch, folder)


@pytest.fixture
def serving(hub: StandIn, tmp_path: Path) -> Iterator[Serving]:
    one = Serving(Engine(), ModelLibrary("cpu", root=tmp_path, offered=(FACES,), allow_hub=True))
    yield one
    hub.loads.set()
    hub.send(1.0)
    one.close()


def told(serving: Serving, act: Any = None) -> list[str]:
    """The sentences of one wait for the model; `act` is called after each of them."""

    async def wait() -> list[str]:
        found = []
        async for sentence in serving.arrivals.way(NAME, "tab"):
            found.append(sentence)
            act(len(found))
        return found

    return asyncio.run(wait())


def test_sentences_tell_the_fraction_then_the_load_and_a_model_that_is_there_tells_none(
    serving: Serving, hub: StandIn
) -> None:
    hub.send(0.432)

    def act(count: int) -> None:
        hub.send(1.0) if count == 1 else hub.loads.set()

    said = ["fetching CelebA-HQ faces: 43 %", "loading CelebA-HQ faces …", ""]
    assert told(serving, act) == said
    assert told(serving) == []


def test_visitors_share_one_download_and_who_leaves_does_not_end_it(
    serving: Serving, hub: StandIn
) -> None:
    hub.loads.set()

    async def both() -> Any:
        stays = asyncio.ensure_future(serving.model(NAME))
        leaver = serving.arrivals.way(NAME, "one")
        assert await anext(leaver) == "fetching CelebA-HQ faces: 0 %"
        await leaver.aclose()
        other = serving.arrivals.way(NAME, "two")
        assert await anext(other) == "fetching CelebA-HQ faces: 0 %"
        newer = asyncio.ensure_future(anext(serving.arrivals.way(NAME, "two")))
        assert await anext(other) == ""  # ended by the newer one of the same tab
        assert await newer == "fetching CelebA-HQ faces: 0 %"
        hub.send(1.0)
        return await stays

    assert asyncio.run(both()).shape == (3, 32, 32)
    assert hub.fetches == 1


def test_stop_ends_the_wait_for_a_download_and_not_the_download(
    serving: Serving, hub: StandIn
) -> None:
    visitor: Any = SimpleNamespace(session_hash="me")

    async def handler() -> Any:
        async with aclosing(serving.telling(NAME, serving.model(NAME))) as steps:
            async for step in steps:
                yield step
        raise AssertionError("went on without the model")

    async def stopped() -> list[Any]:
        said = []
        async for step in serving.stoppable("generate", handler)(visitor):
            said.append(step)
            await serving.stop("compare", visitor)  # another tab's
            await serving.stop("generate", visitor)
        hub.loads.set()
        hub.send(1.0)
        assert (await serving.model(NAME)).shape == (3, 32, 32) and hub.fetches == 1
        return said

    assert asyncio.run(stopped()) == ["fetching CelebA-HQ faces: 0 %", "Stopped."]


def test_a_newer_run_of_a_tab_ends_the_one_before_and_no_other(serving: Serving) -> None:
    started: list[Stop] = []

    async def handler() -> Any:
        started.append(STOP.get() or pytest.fail("it has no Stop"))
        yield "goes on"

    async def run(tab: str, visitor: str) -> Any:
        event = serving.stoppable(tab, handler, alone=True)
        steps = event(cast(Any, SimpleNamespace(session_hash=visitor, client=None)))
        await anext(steps)
        return steps

    async def asked() -> list[bool]:
        runs = [await run(*of) for of in [("start", "me"), ("video", "me"), ("start", "you")]]
        before = [stop.asked for stop in started]
        runs.append(await run("start", "me"))
        for steps in runs:
            await steps.aclose()
        assert before == [False, False, False]
        return [stop.asked for stop in started]

    assert asyncio.run(asked()) == [True, False, False, False]


@pytest.mark.parametrize(
    ("tab", "visitor", "dropped"),
    [
        ("video", "me", True),
        ("generate", "me", False),
        ("video", "you", False),
    ],
)
def test_what_is_made_of_a_run_is_dropped_where_its_visitor_has_begun_a_newer_one_of_the_tab(
    serving: Serving, tab: str, visitor: str, dropped: bool
) -> None:
    def request(name: str) -> Any:
        return SimpleNamespace(session_hash=name, client=None)

    async def handler() -> Any:
        yield "goes on"

    async def files(name: str) -> list[Any]:
        steps = serving.stoppable(tab, handler, alone=True)(request(visitor))
        await anext(steps)
        await steps.aclose()
        return [name, "made"]

    async def answer() -> list[Any]:
        before = serving.stoppable("video", handler, alone=True)(request("me"))
        await anext(before)
        await before.aclose()
        return await serving.of_newest("video", files)(request("me"), "files")

    assert asyncio.run(answer()) == ([gr.skip()] * 2 if dropped else ["files", "made"])


@pytest.mark.parametrize("begun", ["before", "meanwhile", "by another visitor", ""])
def test_what_a_run_says_is_not_overwritten_by_the_way_of_a_model_chosen_meanwhile(
    serving: Serving, hub: StandIn, begun: str
) -> None:
    with gr.Blocks() as demo:
        LabelControls([("faces", NAME)], None, 1.0).follow(serving, gr.Markdown())
    (way,) = [f.fn for f in demo.fns.values() if getattr(f.fn, "__name__", "") == "way"]

    async def handler() -> Any:
        yield "a run"

    async def run(name: str) -> None:
        steps = serving.stoppable("video", handler, alone=True)(request(name))
        await anext(steps)
        if begun == "before":
            return running.append(steps)
        await steps.aclose()

    def request(name: str) -> Any:
        return SimpleNamespace(session_hash=name, client=None)

    async def said() -> list[Any]:
        found = []
        if begun == "before":
            await run("me")
        steps = way(NAME, request("me"))
        while (step := await anext(steps, None)) is not None:
            found.append(step)
            if begun == "before" or len(found) == 2:
                if begun not in ("before", ""):
                    await run("me" if begun == "meanwhile" else "you")
                hub.loads.set()
                hub.send(1.0)
        for one in running:
            await one.aclose()
        return [step for step in found if isinstance(step, str)]

    running: list[Any] = []
    first = "fetching CelebA-HQ faces: 0 %"
    wanted = {"before": [], "meanwhile": [first]}.get(begun, [first, ""])
    assert [step for step in asyncio.run(said()) if "loading" not in step] == wanted


def test_every_run_of_every_tab_tells_the_download_and_ends_with_stop(
    serving: Serving, hub: StandIn
) -> None:
    demo = build(serving, None)
    visitor: Any = SimpleNamespace(session_hash="me", client=None)
    engine = [fn for fn in demo.fns.values() if fn.concurrency_id == "engine"]
    assert len({fn.concurrency_limit for fn in engine}) == 1  # Gradio takes the least of them
    runs = [fn for fn in engine if fn.api_visibility == "private"]
    assert len(runs) >= 10  # one of each button

    async def stopped(fn: Any) -> list[str]:
        said = []
        values = [getattr(block, "value", None) for block in fn.inputs[1:]]
        async with aclosing(fn.fn(visitor, NAME, *values)) as steps:
            async for step in steps:
                said += [word for word in step if isinstance(word, str) and word]
                for tab, _ in list(serving._stops):
                    await serving.stop(tab, visitor)
        assert not serving._stops and len(serving.admission) == 0
        return said

    for fn in runs:
        said = asyncio.run(stopped(fn))
        assert said == ["fetching CelebA-HQ faces: 0 %", "Stopped."], fn.name

    async def chosen(fn: Any) -> Any:
        async with aclosing(fn.fn(NAME, visitor)) as steps:
            await anext(steps)  # it leaves the note as it is
            return await anext(steps)

    menus = [fn for fn in demo.fns.values() if fn.name == "way"]
    assert {fn.outputs[0].elem_id for fn in menus} >= {"generate-note", "compare-note"}
    for fn in menus:
        assert asyncio.run(chosen(fn)) == "fetching CelebA-HQ faces: 0 %"


def test_a_download_that_fails_ends_with_its_reason(serving: Serving, hub: StandIn) -> None:
    found = told(serving, lambda count: hub.send(0.2, fails=True))
    assert found[0] == "fetching CelebA-HQ faces: 0 %"
    assert found[-1].startswith("**hub:owner") and "could not be fetched" in found[-1]
    with pytest.raises(gr.Error, match="could not be fetched"):
        asyncio.run(serving.model(NAME))


# --- in the page ----------------------------------------------------------------------------------


@pytest.fixture
def page(browser: Browser, serving: Serving) -> Iterator[Page]:
    demo, address = serve(serving, None, quiet=True)
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    errors: list[str] = []
    one = context.new_page()
    one.on("pageerror", lambda error: errors.append(str(error)))
    one.set_default_timeout(PATIENCE)
    one.goto(address)
    yield one
    context.close()
    demo.close()
    assert errors == []


def choose(page: Page, option: str) -> None:
    page.get_by_role("tab", name="Generate", exact=True).locator("visible=true").click()
    page.get_by_label("Model", exact=True).locator("visible=true").click()
    page.get_by_role("option", name=option, exact=True).locator("visible=true").click()


@pytest.mark.browser
def test_the_note_counts_the_download_and_the_run_follows(page: Page, hub: StandIn) -> None:
    note = page.locator("#generate-note")
    choose(page, FACES.title)
    for fraction, shown in ((0.07, "7 %"), (0.43, "43 %")):
        hub.send(fraction)
        expect(note).to_have_text(f"fetching CelebA-HQ faces: {shown}", timeout=PATIENCE)
    page.locator("#generate-go").click()
    hub.send(0.81)
    expect(note).to_have_text("fetching CelebA-HQ faces: 81 %", timeout=PATIENCE)
    expect(note).to_be_in_viewport()
    hub.send(1.0)
    expect(note).to_have_text("loading CelebA-HQ faces …", timeout=PATIENCE)
    hub.loads.set()
    status = page.locator("#generate-player").get_by_test_id("player-status")
    expect(status).to_contain_text("done", timeout=PATIENCE)
    expect(note).not_to_contain_text("CelebA-HQ")
    assert hub.fetches == 1


@pytest.mark.browser
def test_a_failed_download_says_so_and_another_choice_is_not_held_up(
    page: Page, hub: StandIn
) -> None:
    note = page.locator("#generate-note")
    choose(page, FACES.title)
    expect(note).to_have_text("fetching CelebA-HQ faces: 0 %", timeout=PATIENCE)
    choose(page, "mixture (exact)")
    page.locator("#generate-go").click()
    status = page.locator("#generate-player").get_by_test_id("player-status")
    expect(status).to_contain_text("done", timeout=PATIENCE)
    choose(page, FACES.title)
    hub.send(0.5)
    expect(note).to_have_text("fetching CelebA-HQ faces: 50 %", timeout=PATIENCE)
    hub.send(0.5, fails=True)
    expect(note).to_contain_text("could not be fetched", timeout=PATIENCE)
