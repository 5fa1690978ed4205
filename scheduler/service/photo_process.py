"""Turn one picture on standard input into square photos without metadata: the process that `photo_decoder` starts.

It has little memory and time, no settings and no open files of the service, because a picture may be made to harm the
program that decodes it. Only pixels leave it: whatever else a file holds (a place, a second file, a script) is dropped.
"""

import contextlib
import json
import resource
import sys
import warnings
from io import BytesIO
from typing import BinaryIO

from PIL import Image, ImageCms, features

from scheduler.domain.errors import Refused
from scheduler.domain.photo import PHOTO_SIZES, Photo, require_picture, require_size, too_many_pixels

MOST_MEMORY = 264 * 1024 * 1024
"""What the process may allocate. Together with its programs it stays under 300 MB."""

MOST_SECONDS = 20

_DECODED = 2 * PHOTO_SIZES[-1]
"""The side, in pixels, to which a picture is shrunk before the photos are made, at least."""

_ROWS_AT_ONCE = 512
_DAMAGED = "the picture is damaged, or not what its name says; open it, save it as a JPEG, and send that"
_TOO_MUCH_MEMORY = "the picture needs too much memory to open; save it smaller, as a JPEG, and send that"

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its orientation (Exif 2.32, section 4.6.4)."""

_TOP_IS_FIRST = (1, 2, 5, 6)
"""The orientations in which the first row or column is at the top of the upright picture."""


def main() -> None:
    """Print one line of JSON and, if the picture was not refused, the files of its photos."""
    for limit, most in (
        (resource.RLIMIT_DATA, MOST_MEMORY),
        (resource.RLIMIT_CPU, MOST_SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    # Pillow warns of hostile pictures, but nobody would read it.
    warnings.simplefilter("ignore")
    try:
        _write(make_photos(sys.stdin.buffer.read()), sys.stdout.buffer)
    except Refused as refusal:
        sys.stdout.buffer.write(json.dumps({"refused": refusal.message}).encode() + b"\n")


def _write(photos: list[Photo], output: BinaryIO) -> None:
    head = [[photo.size, photo.format, len(photo.content)] for photo in photos]
    output.write(json.dumps({"photos": head}).encode() + b"\n")
    for photo in photos:
        output.write(photo.content)


def make_photos(content: bytes) -> list[Photo]:
    """Return square photos of a picture in each of PHOTO_SIZES, as AVIF (or WebP) and as JPEG.

    They are upright, in sRGB and without metadata. Raises Refused, in one line, for what is not a picture.
    """
    format_ = require_picture(content)
    try:
        with Image.open(BytesIO(content), formats=[format_]) as picture:
            require_size(format_, *picture.size)
            # Many phones put a second picture into a JPEG, such as a map of brightness. The first is the photo.
            if format_ != "JPEG" and getattr(picture, "n_frames", 1) > 1:
                raise Refused("the picture is animated; send a still one")
            square = _square(picture)
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused(too_many_pixels(format_)) from None
    except MemoryError:
        raise Refused(_TOO_MUCH_MEMORY) from None
    except Exception:  # noqa: BLE001 - Pillow raises many kinds of errors for damaged files
        raise Refused(_DAMAGED) from None
    return [photo for size in PHOTO_SIZES for photo in _files(square, size)]


def _files(square: Image.Image, size: int) -> list[Photo]:
    # A new picture has no metadata that could be written.
    clean = Image.new("RGB", (size, size))
    clean.paste(square.resize(clean.size, Image.Resampling.LANCZOS))
    best = ("avif", {"quality": 62, "speed": 7}) if features.check("avif") else ("webp", {"quality": 80})
    photos = []
    for format_, options in (best, ("jpeg", {"quality": 82, "optimize": True})):
        file = BytesIO()
        clean.save(file, format_.upper(), **options)
        photos.append(Photo(size, format_, file.getvalue()))
    return photos


def _square(picture: Image.Image) -> Image.Image:
    """Return a square part of a picture, upright and in sRGB. In a picture that is higher than wide, it is above the
    middle, where the face is."""
    if picture.mode == "RGB":
        # A JPEG is decoded at a fraction of its size.
        picture.draft("RGB", (_DECODED, _DECODED))
    picture.load()
    orientation = _orientation(picture)
    width, height = picture.size
    side, surplus = min(width, height), abs(width - height)
    is_upright = (height > width) == (orientation < 5)
    offset = surplus * 7 // 20 if is_upright else surplus // 2
    if is_upright and orientation not in _TOP_IS_FIRST:
        offset = surplus - offset
    left, top = (0, offset) if height > width else (offset, 0)
    square = _shrunk(picture, left, top, side, factor=max(1, side // _DECODED))
    square = _in_srgb(square, picture.info.get("icc_profile"))
    return square.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else square


def _orientation(picture: Image.Image) -> int:
    try:
        orientation: object = picture.getexif().get(_ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - damaged metadata says nothing about the picture
        return 1
    return orientation if isinstance(orientation, int) and orientation in _UPRIGHT else 1


def _shrunk(picture: Image.Image, left: int, top: int, side: int, *, factor: int) -> Image.Image:
    """Return a square part of a picture, smaller by a factor, on white, in RGB or CMYK.

    It is copied some rows at a time: a second copy of a whole picture would need too much memory.
    """
    has_alpha = picture.has_transparency_data
    mode, white = ("CMYK", (0, 0, 0, 0)) if picture.mode == "CMYK" else ("RGB", (255, 255, 255))
    side //= factor
    shrunk = Image.new(mode, (side, side), white)
    rows = max(1, _ROWS_AT_ONCE // factor)
    for first in range(0, side, rows):
        upper, lower = (top + row * factor for row in (first, min(first + rows, side)))
        strip = picture.crop((left, upper, left + side * factor, lower))
        strip = strip.convert("RGBA" if has_alpha else mode).reduce(factor)
        shrunk.paste(strip, (0, first), strip if has_alpha else None)
    return shrunk


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a picture in sRGB, from the colours that its profile describes if that can be read."""
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, TypeError, ValueError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            if converted := ImageCms.profileToProfile(picture, source, target, outputMode="RGB"):
                return converted
    return picture.convert("RGB")


if __name__ == "__main__":
    main()
