"""One picture, whatever file it comes in, through every door."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from dpm_demo.media.decode import PIXELS_MAX, decode
from dpm_demo.training.folder import read_folder
from dpm_demo.ui.tabs.from_picture import read_picture

SIDE = 16
RAMP = np.linspace(0, 255, SIDE * SIDE).round().astype(np.uint8).reshape(SIDE, SIDE)
GREY = np.stack([RAMP] * 3, -1)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def rotated() -> bytes:
    """The camera was turned: stored on its side, with the orientation that mends it."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to see it
    return saved(Image.fromarray(np.rot90(GREY).copy()), "PNG", exif=exif)


def transparent() -> bytes:
    """Black, as far as one sees it: grey 255 - a over white is black with the alpha a."""
    alpha = 255 - RAMP
    return saved(Image.fromarray(np.dstack([np.zeros_like(GREY), alpha])), "PNG")


def palette_with_a_hole() -> tuple[bytes, np.ndarray]:
    image = Image.fromarray(np.zeros((SIDE, SIDE), np.uint8), "P")
    image.putpalette([200, 0, 0] + [0] * 765)
    image.paste(1, (0, 0, SIDE // 2, SIDE))
    expected = np.full((SIDE, SIDE, 3), (200, 0, 0), np.uint8)
    expected[:, : SIDE // 2] = 255
    return saved(image, "PNG", transparency=1), expected


def animated() -> bytes:
    rest = [Image.new("RGB", (SIDE, SIDE), "red")]
    return saved(Image.fromarray(GREY), "GIF", save_all=True, append_images=rest, duration=100)


FILES: dict[str, Callable[[], bytes]] = {
    "8 bits": lambda: saved(Image.fromarray(GREY), "PNG"),
    "grey": lambda: saved(Image.fromarray(RAMP), "PNG"),
    "16 bits": lambda: saved(Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG"),
    "16 bits, TIFF": lambda: saved(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"),
    "32 bits": lambda: saved(
        Image.fromarray((RAMP.astype(np.uint32) * 16_843_009).view(np.int32)), "TIFF"
    ),
    "floats": lambda: saved(Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF"),
    "turned": rotated,
    "transparent": transparent,
    "animated": animated,
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_picture_comes_through_every_door_from_every_file(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "picture.png"  # what is inside counts, not the ending
    file.write_bytes(FILES[name]())
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "mine" / "z-another.png")
    assert np.array_equal(np.asarray(decode(file).image), GREY)
    assert np.array_equal(read_picture(file, (3, SIDE, SIDE)), GREY)
    trained = read_folder(tmp_path / "mine", SIDE).data[0]
    assert np.array_equal(trained.movedim(0, -1).numpy(), GREY)


def test_a_palettes_hole_is_white() -> None:
    data, expected = palette_with_a_hole()
    assert np.array_equal(np.asarray(decode(data).image), expected)


def test_cmyk_becomes_rgb() -> None:
    cyan = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "TIFF")
    assert np.asarray(decode(cyan).image)[0, 0].tolist() == [0, 255, 255]


def test_the_frames_of_an_animation_are_counted() -> None:
    assert decode(animated()).frames == 2
    assert decode(FILES["grey"]()).frames == 1


def test_floats_that_are_not_finite_are_black() -> None:
    values = np.array([[np.nan, np.inf], [0.5, 1.0]], np.float32)
    got = np.asarray(decode(saved(Image.fromarray(values), "TIFF")).image)[..., 0]
    assert got.tolist() == [[0, 0], [128, 255]]


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [20_000, 100_000])
def test_a_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    with pytest.raises(ValueError, match=f"more than {PIXELS_MAX // 10**6} million"):
        decode(bomb(side, side))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_odd_words_of_a_camera_make_no_fault_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def odd(picture: Image.Image) -> Image.Image:
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr("dpm_demo.media.decode.ImageOps.exif_transpose", odd)
    with pytest.raises(ValueError, match=r"no picture that can be read \(required argument"):
        decode(rotated())


def test_an_avif_whose_pixels_are_damaged_is_no_picture() -> None:
    whole = saved(Image.fromarray(GREY), "AVIF")
    start = whole.index(b"mdat") + 4
    with pytest.raises(ValueError, match="no picture that can be read"):
        decode(whole[:start] + bytes(len(whole) - start))


@pytest.mark.parametrize("data", [b"", b"no picture", FILES["8 bits"]()[:60]])
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="no picture that can be read"):
        decode(data)
