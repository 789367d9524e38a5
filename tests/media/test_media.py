"""What goes into a media file comes out of it."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image

from dpm_demo.media.clips import _check_decodes, animated_webp, gif, mp4
from dpm_demo.media.files import zip_files
from dpm_demo.media.grid import labelled_grid, sheet, sprite_sheet, upscale
from dpm_demo.media.pixels import MAX_SIDE, check_picture
from dpm_demo.media.png import data_uri, png, png_text


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def gradient_video(frames: int, h: int, w: int) -> np.ndarray:
    """Smooth in space (so that yuv420p hardly changes it), different in every frame."""
    y, x = np.mgrid[:h, :w]
    base = np.stack([200 * y / h, 200 * x / w, 100 + 0 * x], -1)
    return np.stack([(base + 40 * k / frames).astype(np.uint8) for k in range(frames)])


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 3), (6, 4, 4)])
@pytest.mark.parametrize("level", [1, 6])
def test_png_is_lossless(shape: tuple[int, int, int], level: int, tmp_path: Path) -> None:
    picture = noise(*shape)
    file = tmp_path / "a.png"
    file.write_bytes(png(picture, level=level))
    assert np.array_equal(np.asarray(Image.open(file)), picture)


def test_png_carries_settings_in_ascii_and_beyond() -> None:
    text = {"settings": '{"nfe": 20}', "greek": "λ from −5.1 to 4.6", "long": "x" * 70_000}
    data = png(noise(4, 4, 3), text)
    assert png_text(data) == text
    assert b"tEXtsettings" in data and b"iTXtgreek" in data


def test_png_of_the_same_picture_is_the_same_bytes() -> None:
    assert png(noise(8, 8, 3), {"a": "b"}) == png(noise(8, 8, 3), {"a": "b"})


def test_a_sheet_may_be_taller_than_a_picture_of_a_film() -> None:
    tall = np.zeros((MAX_SIDE + 8, 1, 3), np.uint8)
    with Image.open(io.BytesIO(png(tall))) as picture:
        assert picture.size == (1, MAX_SIDE + 8)
    with pytest.raises(ValueError, match="sides must be 1 to 8192 pixels"):
        check_picture(tall)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_png_refuses_what_is_no_uint8_picture(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a picture"):
        png(bad)


@pytest.mark.parametrize("key", ["", "k" * 80, "new\nline", "λ"])
def test_png_refuses_a_keyword_the_format_cannot_hold(key: str) -> None:
    with pytest.raises(ValueError, match="keyword"):
        png(noise(2, 2, 3), {key: "x"})


def test_png_text_refuses_other_bytes() -> None:
    with pytest.raises(ValueError, match="PNG"):
        png_text(b"GIF89a nonsense")


def test_data_uri_holds_the_bytes() -> None:
    uri = data_uri(b"\x00\xffabc", "image/webp")
    head, body = uri.split(",")
    assert head == "data:image/webp;base64" and base64.b64decode(body) == b"\x00\xffabc"


def test_upscale_repeats_every_pixel_and_nothing_else() -> None:
    video = noise(3, 4, 5, 3)
    big = upscale(video, 3)
    assert big.shape == (3, 12, 15, 3)
    for dy in range(3):
        for dx in range(3):
            assert np.array_equal(big[:, dy::3, dx::3], video)


@pytest.mark.parametrize("scale", [0, -1, 1.5, True, 10**6])
def test_upscale_refuses_what_is_no_integer_factor(scale: object) -> None:
    with pytest.raises(ValueError, match="scale"):
        upscale(noise(4, 4, 3), scale)  # type: ignore[arg-type]


def test_sheet_places_pictures_row_by_row_and_fills_the_rest() -> None:
    pictures = noise(5, 4, 6, 3)
    grid = sheet(pictures, 3, gap=2)
    assert grid.shape == (4 + 2 + 4, 6 * 3 + 2 * 2, 3)
    assert np.array_equal(grid[6:, 8:14], pictures[4])
    assert (grid[6:, 16:] == 255).all() and (grid[4:6] == 255).all()
    assert np.array_equal(sheet(pictures[:2], 8), np.concatenate(list(pictures[:2]), 1))


def test_sheet_refuses_pictures_of_different_shapes() -> None:
    with pytest.raises(ValueError, match="one shape"):
        sheet([noise(4, 4, 3), noise(4, 5, 3)], 2)
    with pytest.raises(ValueError, match="columns"):
        sheet(noise(2, 4, 4, 3), 0)


def test_sprite_sheet_has_a_row_for_each_picture_and_a_column_for_each_frame() -> None:
    videos = noise(3, 5, 4, 6, 3)
    sprites = sprite_sheet(videos)
    assert sprites.shape == (3 * 4, 5 * 6, 3)
    for p in range(3):
        for f in range(5):
            cut = sprites[p * 4 : (p + 1) * 4, f * 6 : (f + 1) * 6]
            assert np.array_equal(cut, videos[p, f])
    assert np.array_equal(sprite_sheet(videos[:, 0]), sheet(videos[:, 0], 1))


def test_labelled_grid_contains_every_picture_enlarged_and_every_label() -> None:
    cells = [[noise(8, 8, 3), noise(8, 8, 3) // 2], [None, noise(8, 8, 3) // 3]]
    labels = dict(row_titles=["order 1", "order 2"], column_titles=["5", "10"])
    blank = labelled_grid(
        cells, row_titles=["", ""], column_titles=["", ""], captions=[["", ""], ["", ""]], scale=5
    )
    captions = [["RMSE 0.1\n31 ms", "b"], ["c", "d"]]
    grid = labelled_grid(
        cells, **labels, captions=captions, scale=5, best=[[True, False], [False, False]]
    )
    assert grid.dtype == np.uint8 and grid.shape[2] == 3
    for picture in (cells[0][1], cells[1][1]):
        assert picture is not None
        big = upscale(picture, 5)
        assert any(
            np.array_equal(grid[y : y + 40, x : x + 40], big)
            for y, x in zip(*np.nonzero((grid == big[0, 0]).all(-1)), strict=True)
        )
    dark = [(image < 100).all(-1).sum() for image in (grid, blank)]
    assert dark[0] > dark[1] + 100  # the labels are really drawn
    assert grid.shape[0] > blank.shape[0] and grid.shape[1] > blank.shape[1]


def test_labelled_grid_keeps_a_long_caption_inside_the_picture() -> None:
    row = [noise(8, 8, 3), noise(8, 8, 3)]
    grid = labelled_grid([row], ["r" * 500], ["c" * 500, "d"], [["e" * 500, "f"]], scale=2)
    assert grid.shape[1] < 1000


def test_labelled_grid_enlarges_as_far_as_a_file_may_be_large() -> None:
    row = [noise(8, 512, 3)] * 4
    large, fitting = (labelled_grid([row], ["a"], [""] * 4, scale=scale) for scale in (4, 3))
    assert np.array_equal(large, fitting) and 3 * 4 * 512 < large.shape[1] <= MAX_SIDE
    with pytest.raises(ValueError, match="the grid would be"):
        labelled_grid([row * 5], ["a"], [""] * 20)


def test_labelled_grid_spells_out_what_its_font_cannot_draw() -> None:
    cell = [[noise(8, 8, 3)]]
    greek = labelled_grid(cell, ["λ −1"], ["η"], [["σ"]])
    assert np.array_equal(greek, labelled_grid(cell, ["lambda -1"], ["eta"], [["sigma"]]))


def test_labelled_grid_refuses_a_ragged_or_empty_table() -> None:
    one = noise(4, 4, 3)
    with pytest.raises(ValueError, match="rows of"):
        labelled_grid([[one, one], [one]], ["a", "b"], ["c", "d"])
    with pytest.raises(ValueError, match="empty"):
        labelled_grid([[None]], ["a"], ["b"])
    with pytest.raises(ValueError, match="captions"):
        labelled_grid([[one]], ["a"], ["b"], [["c", "d"]])
    with pytest.raises(ValueError, match="one shape"):
        labelled_grid([[one, noise(5, 5, 3)]], ["a"], ["b", "c"])


@pytest.mark.parametrize(("h", "w", "scale"), [(32, 32, 2), (15, 17, 1), (5, 9, 3)])
def test_mp4_decodes_to_all_frames_at_an_even_size(
    h: int, w: int, scale: int, tmp_path: Path
) -> None:
    video = gradient_video(7, h, w)
    path = mp4(video, 12, scale, tmp_path / "clip.mp4")
    with imageio.get_reader(path) as reader:
        decoded = np.stack([frame for frame in reader])
        meta = reader.get_meta_data()
        assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
        assert meta["fps"] == 12
    big = upscale(video, scale)
    even = [side + side % 2 for side in big.shape[1:3]]
    assert decoded.shape == (7, *even, 3)
    error = decoded[:, : h * scale, : w * scale].astype(float) - big
    assert np.abs(error).mean() < 6
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is all there
    assert list(tmp_path.iterdir()) == [path]


def test_mp4_that_does_not_decode_is_an_error_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(path: Path, *_: object, **__: object) -> None:
        """Fails as ffmpeg can: quietly, with an empty file."""
        path.write_bytes(b"")

    monkeypatch.setattr(imageio, "mimwrite", silent)
    with pytest.raises(RuntimeError, match="video"):
        mp4(gradient_video(3, 8, 8), 12, 1, tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_mp4_with_a_frame_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mp4(gradient_video(4, 8, 8), 12, 2, tmp_path / "clip.mp4")
    with pytest.raises(RuntimeError, match=r"4 frames.*not 5 frames"):
        _check_decodes(path, 5, (16, 16))
    with pytest.raises(RuntimeError, match="not 4 frames"):
        _check_decodes(path, 4, (16, 18))


def test_gif_has_every_frame_its_size_and_its_time(tmp_path: Path) -> None:
    video = gradient_video(6, 9, 7)
    path = gif(video, 10, 4, tmp_path / "a.gif", hold=1.0)
    with Image.open(path) as picture:
        assert picture.n_frames == 6 and picture.size == (28, 36)  # type: ignore[attr-defined]
        assert picture.info["loop"] == 0
        times = []
        for k in range(6):
            picture.seek(k)
            times.append(picture.info["duration"])
            frame = np.asarray(picture.convert("RGB"))
            assert np.array_equal(frame, upscale(frame[::4, ::4], 4))  # square pixels
            assert np.array_equal(frame[::4, ::4], video[k])  # 63 colours fit into 256
    assert times == [100] * 5 + [1100]


def test_gif_of_a_still_video_keeps_its_length(tmp_path: Path) -> None:
    path = gif(np.repeat(noise(1, 8, 8, 3), 4, 0), 20, 1, tmp_path / "still.gif")
    with Image.open(path) as picture:
        total = 0
        for k in range(getattr(picture, "n_frames", 1)):
            picture.seek(k)
            total += picture.info["duration"]
    assert total == 200


@pytest.mark.parametrize("fps", [3, 12, 24, 30, 40, 50])
def test_times_of_a_gif_and_a_webp_add_up_to_that_of_the_clip(fps: int, tmp_path: Path) -> None:
    frames = 2 * fps
    for write, tick in ((gif, 10), (animated_webp, 1)):
        with Image.open(write(noise(frames, 8, 8, 3), fps, 1, tmp_path / "a")) as picture:
            total = 0
            for k in range(frames):
                picture.seek(k)
                picture.load()
                total += picture.info["duration"]
                assert abs(total - 1000 * (k + 1) / fps) <= tick / 2
        assert total == 2000


def test_animated_webp_is_bit_exact(tmp_path: Path) -> None:
    video = noise(5, 16, 13, 3)
    path = animated_webp(video, 12, 2, tmp_path / "a.webp")
    with Image.open(path) as picture:
        assert picture.n_frames == 5  # type: ignore[attr-defined]
        for k in range(5):
            picture.seek(k)
            assert np.array_equal(np.asarray(picture.convert("RGB")), upscale(video[k], 2))
            assert picture.info["duration"] in (83, 84)


@pytest.mark.parametrize("write", [gif, mp4, animated_webp])
@pytest.mark.parametrize("fps", [0, -1, 10**9, float("nan")])
def test_a_bad_frame_rate_is_refused_before_anything_is_written(
    write: object, fps: float, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="fps"):
        write(noise(2, 4, 4, 3), fps, 1, tmp_path / "x")  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [gif, mp4, animated_webp])
def test_an_empty_video_and_a_bad_scale_are_refused(write: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frames"):
        write([], 12, 1, tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(ValueError, match="scale"):
        write(noise(2, 4, 4, 3), 12, 0, tmp_path / "x")  # type: ignore[operator]


def test_zip_returns_its_files_and_is_reproducible(tmp_path: Path) -> None:
    files = {"settings.json": b"{}", "cells/order 2.png": png(noise(4, 4, 3))}
    first = zip_files(files, tmp_path / "a.zip")
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files
    assert zip_files(files, tmp_path / "b.zip").read_bytes() == first.read_bytes()


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up.png", "a/../../b", "c:\\x", "a\\b"])
def test_zip_refuses_names_that_leave_the_archive(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names"):
        zip_files({name: b""}, tmp_path / "a.zip")
    with pytest.raises(ValueError, match="at least one"):
        zip_files({}, tmp_path / "a.zip")
