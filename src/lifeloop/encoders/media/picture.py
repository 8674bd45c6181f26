"""A picture file as a square of RGB values, in bounded memory, whatever the file claims to be."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeloop.errors import MissingExtra, UnreadableFile

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
"""What a file may be by its content; its name is not looked at."""
MOST_MEMORY = 320 << 20
"""Bytes that one decoded picture may take; JPEGs are decoded smaller instead."""
LEAST_SIDE = 8
"""Pixels; anything smaller is a tracking pixel or a spacer."""
ONE_COLOUR = 2
"""Largest difference of levels (of 255) in a picture that shows nothing."""

Pixels = NDArray[np.uint8]


def read_picture(path: Path, *, resize: int, crop: int) -> Pixels:
    """Return the middle of a picture [crop, crop, 3], its short side brought to ``resize``.

    Turned as its camera says (EXIF), CMYK, grey, palette and 16-bit brought to RGB, transparent
    parts on white, the first frame of an animation. JPEGs of any size are decoded at a fraction
    of their size; another picture that would take more than 320 MiB is refused.

    Raises
    ------
    MissingExtra
        Pillow is not installed (extra ``[media]``).
    UnreadableFile
        With the reason in ``what``: no picture, cut or damaged, too many pixels, too small, or of
        one colour.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingExtra("reading pictures", "media") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large or oddly tagged pictures; judged below
            Image.init()  # type: ignore[no-untyped-call, unused-ignore]
            known = [name for name in FORMATS if name in Image.OPEN]
            with Image.open(path, formats=known) as image:
                _bounded(image, path, least=2 * resize)
                pixels = _square(image, resize, crop)
    except UnreadableFile:
        raise
    except Image.DecompressionBombError:
        raise UnreadableFile("too many pixels", got=path.name) from None
    except UnidentifiedImageError:
        raise UnreadableFile("not a picture", got=path.name, allowed=", ".join(FORMATS)) from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error …
        raise UnreadableFile("a damaged picture", got=f"{path.name}: {error}") from error
    if _flat(pixels):
        raise UnreadableFile("a picture of one colour", got=path.name)
    return pixels


def _bounded(image: Any, path: Path, *, least: int) -> None:
    width, height = image.size
    if min(width, height) < LEAST_SIDE:
        raise UnreadableFile("a picture of a few pixels", got=f"{path.name}: {width} x {height}")
    # A progressive file must be held whole, as coefficients, before any of it can be shown.
    held = width * height * 6 if image.info.get("progressive") else 0
    image.draft("RGB", (least, least))  # JPEG only: 1/2, 1/4 or 1/8 of the size
    width, height = image.size
    held += width * height * {"1": 1, "L": 1, "P": 5, "LA": 4, "I;16": 2}.get(image.mode, 4)
    if held > MOST_MEMORY:
        raise UnreadableFile("too many pixels", got=f"{path.name}: {width} x {height}")


def _square(image: Any, resize: int, crop: int) -> Pixels:
    from PIL import Image, ImageOps

    image.load()
    factor = max(1, min(image.size) // (2 * resize))
    if factor > 1 and image.mode not in ("P", "1"):
        image = image.reduce(factor)  # before other forms of it are made
    image = _rgb(ImageOps.exif_transpose(image))
    width, height = image.size
    scale = resize / min(width, height)
    # a strip is cut to its middle first: enlarging it whole would know no bound
    longest = round(2 * resize / scale)
    if max(width, height) > longest:
        left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
        image = image.crop((left, top, min(width, left + longest), min(height, top + longest)))
        width, height = image.size
    size = (max(crop, round(width * scale)), max(crop, round(height * scale)))
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - crop) // 2, (size[1] - crop) // 2
    return np.asarray(image.crop((left, top, left + crop, top + crop)), dtype=np.uint8)


def _rgb(image: Any) -> Any:
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(np.nanmax(grey)), 1e-9)
        level = np.nan_to_num(np.clip(grey / top, 0.0, 1.0)) * 255.0
        return Image.fromarray(level.round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def _flat(pixels: Pixels) -> bool:
    by_channel = pixels.reshape(-1, 3)
    return bool((by_channel.max(0) - by_channel.min(0)).max() <= ONE_COLOUR)
