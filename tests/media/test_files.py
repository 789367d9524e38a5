import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dpm_demo.media.files import UNTOUCHED, forget_parts, replacing, write_text


@pytest.fixture(params=[0o022, 0o027, 0o077])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_file_has_the_mode_of_any_new_file_whatever_its_writer_does(
    mask: int, tmp_path: Path
) -> None:
    with replacing(tmp_path / "model.safetensors") as part:
        save_file({"x": torch.zeros(2)}, part)
        part.chmod(0o600)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o666 & ~mask


def test_a_writer_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "whole")
    with pytest.raises(OSError, match="full"), replacing(tmp_path / "a.txt") as part:
        part.write_text("ha")
        raise OSError("the disk is full")
    assert (tmp_path / "a.txt").read_text("utf-8") == "whole"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_is_not(
    tmp_path: Path,
) -> None:
    write_text(tmp_path / "a.txt", "whole")
    left, now = tmp_path / ".part-0.txt", time.time()
    left.write_text("ha")
    for path in (left, tmp_path / "a.txt"):
        os.utime(path, (now - 2 * UNTOUCHED,) * 2)
    with replacing(tmp_path / "b.txt") as part:
        forget_parts(tmp_path)
        part.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_text_is_utf_8_and_keeps_its_newlines(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "λ ≤ 4\r\n−1\n")
    assert (tmp_path / "a.csv").read_bytes() == "λ ≤ 4\r\n−1\n".encode()
