"""Photos of people: which files are accepted, judged by their first bytes, and the forms in which photos are kept."""

from typing import NamedTuple

from scheduler.domain.errors import Refused

LARGEST_FILE = 5 * 1024 * 1024
PHOTO_SIZES = (192, 480)
"""The pixels on each side of the photos that are made: enough for 96 and 160 CSS pixels on sharp screens."""

PHOTO_FORMATS = ("avif", "webp", "jpeg")
"""Each photo is stored as AVIF, or as WebP where Pillow cannot write AVIF, and as JPEG."""

MOST_PIXELS = {"JPEG": 40, "PNG": 40, "WEBP": 12}
"""The largest pictures that are decoded, in megapixels. WebP needs three buffers of four bytes for each pixel."""

_MEGAPIXEL = 1_000_000
_MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
_OTHERS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\x00": "a TIFF",
    b"MM\x00*": "a TIFF",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP file",
}
_ACCEPTED = "send a JPEG, PNG or WebP picture"


class Photo(NamedTuple):
    """One form of a photo: the pixels on each side, one of PHOTO_FORMATS, and the file."""

    size: int
    format: str
    content: bytes


def require_picture(content: bytes) -> str:
    """Return the format that a file says it has. Raises Refused for a file that is not a picture that we accept."""
    if not content:
        raise Refused(f"the file is empty; {_ACCEPTED}")
    if len(content) > LARGEST_FILE:
        megabytes = len(content) / 1024 / 1024
        raise Refused(
            f"the file has {megabytes:.1f} MB; at most {LARGEST_FILE // 1024 // 1024} MB are accepted"
        )
    for magic, name in _MAGIC.items():
        if content.startswith(magic):
            return name
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        require_size("WEBP", *_webp_size(content))
        return "WEBP"
    beginning = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if beginning.startswith((b"<svg", b"<?xml", b"<!doctype", b"<html")):
        raise Refused(f"the file is a drawing or a page, not a photo; {_ACCEPTED}")
    if content[4:8] == b"ftyp":
        raise Refused(f"the file is a HEIC or AVIF picture, or a film; {_ACCEPTED}")
    for magic, name in _OTHERS.items():
        if content.startswith(magic):
            raise Refused(f"the file is {name}; {_ACCEPTED}")
    raise Refused(f"the file is not a picture that we know; {_ACCEPTED}")


def require_size(format_: str, width: int, height: int) -> None:
    """Raise Refused for a picture with too many or too few pixels."""
    if width * height > MOST_PIXELS[format_] * _MEGAPIXEL:
        raise Refused(too_many_pixels(format_))
    if 0 < min(width, height) < PHOTO_SIZES[0]:
        raise Refused(
            f"the picture has {width} by {height} pixels; at least {PHOTO_SIZES[0]} on each side are needed"
        )


def too_many_pixels(format_: str) -> str:
    """Return the refusal of a picture with too many pixels."""
    most = MOST_PIXELS[format_]
    return f"the picture has more than {most} megapixels, which is the most for {format_}; save it smaller"


def _webp_size(content: bytes) -> tuple[int, int]:
    """Return width and height from the head of a WebP file (RFC 9649); zeros if it is damaged.

    Opening the file would already reserve memory for all its pixels.
    """

    def number(place: int, octets: int) -> int:
        return int.from_bytes(content[place : place + octets], "little")

    match content[12:16]:
        case b"VP8X":
            return number(24, 3) + 1, number(27, 3) + 1
        case b"VP8 ":
            return number(26, 2) & 0x3FFF, number(28, 2) & 0x3FFF
        case b"VP8L":
            return (number(21, 4) & 0x3FFF) + 1, (number(21, 4) >> 14 & 0x3FFF) + 1
    return 0, 0
