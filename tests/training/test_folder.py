"""A folder of pictures: which are read, which are held out, and what is said of the others."""

import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dpm_demo.training.data import Pictures
from dpm_demo.training.folder import read_folder


def fill(folder: Path, n: int, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(first, first + n):
        noise = np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{k:03d}.png")


def held(pictures: Pictures) -> list[bytes]:
    """The held-out pictures themselves, in no order."""
    return sorted(x.numpy().tobytes() for x in pictures.subset(held=True).data)


def test_the_held_out_part_does_not_depend_on_how_or_where_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "here" / "mine", 60)
    expected = held(read_folder(tmp_path / "here" / "mine", 8))
    assert 0 < len(expected) < 20
    monkeypatch.chdir(tmp_path / "here")
    for spelling in ("mine", "./mine", "../here/mine"):
        assert held(read_folder(Path(spelling), 8)) == expected
    shutil.copytree("mine", tmp_path / "elsewhere" / "renamed")
    assert held(read_folder(tmp_path / "elsewhere" / "renamed", 8)) == expected


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_each_part_has_at_least_one_picture(n: int, tmp_path: Path) -> None:
    fill(tmp_path / "mine", n)
    for share in (0.0, 0.05, 1.0):
        pictures = read_folder(tmp_path / "mine", 8, share)
        assert 1 <= int(pictures.held.sum()) <= n - 1
        assert f"{int(pictures.held.sum())} of them held out" in pictures.report[0]


def test_copies_of_a_picture_are_on_the_same_side(tmp_path: Path) -> None:
    fill(tmp_path / "mine" / "a", 40)
    shutil.copytree(tmp_path / "mine" / "a", tmp_path / "mine" / "b")
    pictures = read_folder(tmp_path / "mine", 8)
    assert torch.equal(pictures.held[:40], pictures.held[40:])


@pytest.mark.parametrize("n", [0, 1])
def test_a_folder_of_fewer_than_two_pictures_is_refused(n: int, tmp_path: Path) -> None:
    fill(tmp_path / "mine", n)
    with pytest.raises(ValueError, match="needs two different ones"):
        read_folder(tmp_path / "mine", 8)


def test_every_file_left_out_is_named_with_the_reason(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    fill(mine / "cat", 3)
    fill(mine / "dog", 3, first=10)
    whole = (mine / "cat" / "000.png").read_bytes()
    (mine / "loose.png").write_bytes(whole)
    (mine / "cat" / "cut.png").write_bytes(whole[:60])
    (mine / "cat" / "._000.png").write_bytes(b"\0\5\x16\7")
    (mine / "dog" / "notes.txt").write_text("not a picture")
    fill(mine / "dog" / ".ipynb_checkpoints", 1, first=20)
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    (mine / "dog" / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 99)
        + b"IDAT"
    )
    pictures = read_folder(mine, 8)
    assert pictures.axes == {"class": ("cat", "dog")}
    assert pictures.labels.flatten().tolist() == [0] * 3 + [1] * 3
    assert pictures.report[0].startswith("6 pictures in 2 classes (cat 3, dog 3)")
    said = {line.split(": ")[-1]: line for line in pictures.report[1:]}
    for name, reason in {
        "loose.png": "beside the class folders",
        "cat/cut.png": "no picture that can be read",
        "cat/._000.png": "hidden files",
        "dog/.ipynb_checkpoints": "hidden folders",
        "dog/notes.txt": "no pictures by their ending",
        "dog/bomb.png": "too large",
    }.items():
        assert reason in said[name]


def test_many_files_left_out_for_one_reason_are_counted(tmp_path: Path) -> None:
    fill(tmp_path / "mine", 2)
    for k in range(9):
        (tmp_path / "mine" / f"{k}.txt").write_text("")
    (line,) = read_folder(tmp_path / "mine", 8).report[1:]
    assert line.endswith("and 4 more")


def test_class_folders_one_level_too_deep_are_said(tmp_path: Path) -> None:
    fill(tmp_path / "data" / "train" / "cat", 3)
    fill(tmp_path / "data" / "train" / "dog", 3, first=10)
    above = read_folder(tmp_path / "data", 8)
    assert above.axes == {"class": ("train",)}
    assert "give the class folder itself" in above.report[1]
    assert read_folder(tmp_path / "data" / "train", 8).axes == {"class": ("cat", "dog")}


def test_the_first_frame_of_an_animation_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "mine", 2)
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "mine" / "a.gif", save_all=True, append_images=frames[1:])
    pictures = read_folder(tmp_path / "mine", 8)
    assert len(pictures) == 3
    assert "1 animated" in pictures.report[1]


def test_a_folder_that_leads_into_itself_is_read_once(tmp_path: Path) -> None:
    fill(tmp_path / "mine" / "cat", 3)
    os.symlink(tmp_path / "mine", tmp_path / "mine" / "cat" / "again")
    pictures = read_folder(tmp_path / "mine", 8)
    assert len(pictures) == 3
    assert any("met twice" in line for line in pictures.report)
