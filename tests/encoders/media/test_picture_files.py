"""Pictures as they come: odd, broken, huge, or not pictures at all."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifeloop.encoders.media.picture import read_picture
from lifeloop.errors import UnreadableFile

pytestmark = pytest.mark.extras

Image = pytest.importorskip("PIL.Image")


def levels(width: int = 320, height: int = 240) -> Any:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    made = np.stack([x % 256, y % 256, (x + y) % 256], axis=-1)
    return made.astype(np.uint8)


def shown(path: Path) -> Any:
    return read_picture(path, resize=64, crop=56).astype(np.float64)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.png"
    Image.fromarray(levels()).save(path)
    return path


def cmyk(image: Any, path: Path) -> None:
    image.convert("CMYK").save(path, "JPEG", quality=95)


def palette(image: Any, path: Path) -> None:
    image.quantize(256).save(path, "PNG")


def animated(image: Any, path: Path) -> None:
    black = Image.new("RGB", image.size)
    image.save(path, "WEBP", save_all=True, append_images=[black, black], lossless=True)


def see_through(image: Any, path: Path) -> None:
    image = image.convert("RGBA")
    image.putalpha(Image.new("L", image.size, 255))
    image.save(path, "PNG")


def turned(image: Any, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    image.transpose(Image.Transpose.ROTATE_90).save(path, "JPEG", quality=95, exif=exif)


def misnamed(image: Any, path: Path) -> None:
    image.save(path, "BMP")


@pytest.mark.parametrize("how", [cmyk, palette, animated, see_through, turned, misnamed])
def test_the_same_picture_in_another_form_is_read_the_same(
    how: Callable[[Any, Path], None], plain: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jpg"
    how(Image.open(plain), other)
    assert np.abs(shown(other) - shown(plain)).mean() < 8


def test_what_is_transparent_is_white_and_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    image = Image.fromarray(levels()).convert("RGBA")
    image.putalpha(Image.fromarray((levels()[..., 0] > 127).astype(np.uint8) * 255))
    image.save(tmp_path / "a.png")
    assert (shown(tmp_path / "a.png") > 250).all(axis=-1).mean() > 0.2
    deep = np.tile(np.linspace(0, 65535, 300), (200, 1)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert 100 < shown(tmp_path / "deep.png").mean() < 155


def exe(path: Path) -> None:
    path.write_bytes(b"MZ\x90\x00\x03" + bytes(range(256)) * 40)


def text(path: Path) -> None:
    path.write_text("<svg xmlns='http://www.w3.org/2000/svg'><rect width='9' height='9'/></svg>")


def truncated(path: Path) -> None:
    held = io.BytesIO()
    Image.fromarray(levels()).save(held, "JPEG", quality=95)
    path.write_bytes(held.getvalue()[: len(held.getvalue()) // 2])


def truncated_png(path: Path) -> None:
    held = io.BytesIO()
    Image.fromarray(levels()).save(held, "PNG")
    path.write_bytes(held.getvalue()[:-200])


def flipped(path: Path) -> None:
    held = io.BytesIO()
    Image.fromarray(levels()).save(held, "PNG")
    raw = bytearray(held.getvalue())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(bytes(raw))


def lying(path: Path, side: int = 65_000) -> None:
    """A PNG of 60 bytes that claims as many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    )


def one_pixel(path: Path) -> None:
    Image.new("RGB", (1, 1), (9, 200, 30)).save(path, "PNG")


def one_colour(path: Path) -> None:
    Image.new("RGB", (300, 300), (200, 10, 30)).save(path, "JPEG")


def postscript(path: Path) -> None:
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\nshowpage\n")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (exe, "not a picture"),
        (text, "not a picture"),
        (postscript, "not a picture"),
        (truncated, "a damaged picture"),
        (truncated_png, "a damaged picture"),
        (flipped, "a damaged picture"),
        (lying, "too many pixels"),
        (one_pixel, "a picture of a few pixels"),
        (one_colour, "a picture of one colour"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(
    how: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "item.jpg"
    how(path)
    with pytest.raises(UnreadableFile) as refused:
        shown(path)
    assert refused.value.what == reason


READ = """
import resource, sys
from pathlib import Path
import PIL.Image
from lifeloop.encoders.media.picture import read_picture
from lifeloop.errors import UnreadableFile
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    told = read_picture(Path(sys.argv[1]), resize=256, crop=224).shape
except UnreadableFile as error:
    told = error.what
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, told, sep="|")
"""


@pytest.mark.parametrize(
    ("kind", "told"), [("JPEG", "(224, 224, 3)"), ("RGB PNG", "too many pixels")]
)
def test_twelve_thousand_pixels_square_are_read_in_bounded_memory(
    kind: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "huge.jpg"
    if kind == "JPEG":
        Image.linear_gradient("L").resize((12_000, 12_000), 0).save(path, "JPEG", quality=60)
    else:
        lying(path, 12_000)
    ran = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
    )
    grew_kib, said = ran.stdout.strip().split("|")
    assert said == told
    assert int(grew_kib) < 100 * 1024  # as RGB it would take 576 MiB


def test_strips_of_any_shape_are_read(tmp_path: Path) -> None:
    for n, size in enumerate([(20_000, 9), (9, 20_000), (8, 8)]):
        path = tmp_path / f"{n}.png"
        Image.fromarray(levels(*size)).save(path)
        assert shown(path).shape == (56, 56, 3)
