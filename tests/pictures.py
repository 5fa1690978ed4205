"""Pictures for tests: a photo as a phone takes it, and pictures made to harm whoever opens them."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import Image

SECRET = b"a secret that must not be kept"


def encoded(picture: Image.Image, format_: str, **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


def plain(width: int = 320, height: int = 240, mode: str = "RGB") -> Image.Image:
    """A picture that is red above and blue below."""
    picture = Image.new("RGB", (width, height), (200, 30, 30))
    picture.paste((30, 30, 200), (0, height // 2, width, height))
    return picture.convert(mode)


def phone_photo() -> bytes:
    """A JPEG that lies on its side, with the place where it was taken, a comment and a thumbnail."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Made-up phone"
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 30.0, 26.0), 3: "W", 4: (0.0, 7.0, 39.0)})
    exif.get_ifd(0x8769)[0x9286] = SECRET
    # Turned back by a quarter, so that it is upright with the orientation.
    lying = plain(600, 800).transpose(Image.Transpose.ROTATE_90)
    return encoded(lying, "JPEG", exif=exif, comment=SECRET, quality=90)


def png(*chunks: tuple[bytes, bytes], size: tuple[int, int] = (320, 240), colour: int = 2) -> bytes:
    """A PNG of these chunks after its head."""
    head = struct.pack(">IIBBBBB", *size, 8, colour, 0, 0, 0)
    written = [b"\x89PNG\r\n\x1a\n"]
    for name, content in ((b"IHDR", head), *chunks, (b"IEND", b"")):
        written += [struct.pack(">I", len(content)), name, content]
        written.append(struct.pack(">I", zlib.crc32(name + content)))
    return b"".join(written)


def zeros(count: int) -> bytes:
    """That many zeros, compressed without holding all of them."""
    deflate = zlib.compressobj(9)
    block = bytes(1024 * 1024)
    parts = [deflate.compress(block[: min(len(block), count - done)]) for done in range(0, count, len(block))]
    return b"".join([*parts, deflate.flush()])


def webp(width: int, height: int, *, animated: bool = False) -> bytes:
    """The head of a WebP of that size, without a picture."""
    flags = bytes([2 if animated else 0, 0, 0, 0])
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    content = b"WEBPVP8X" + struct.pack("<I", 10) + flags + canvas
    return b"RIFF" + struct.pack("<I", len(content)) + content


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG that claims another size in its frame header."""
    start = jpeg.index(b"\xff\xc0")
    return jpeg[: start + 5] + struct.pack(">HH", height, width) + jpeg[start + 9 :]


def hostile_pictures() -> Iterator[tuple[str, bytes]]:
    """Yield fifty files that are no photos of people, each with a name."""
    jpeg, whole_png = encoded(plain(), "JPEG"), encoded(plain(), "PNG")
    whole_webp = encoded(plain(), "WEBP")
    frames = [plain(), plain().transpose(Image.Transpose.ROTATE_180)]
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    # Empty, too large, and other kinds of files.
    yield "empty", b""
    yield "one byte", b"\xff"
    yield "six megabytes", jpeg + bytes(6 * 1024 * 1024)
    yield "svg", svg
    yield "svg with a declaration", b"\xef\xbb\xbf<?xml version='1.0'?>\n" + svg
    yield "svg after spaces", b" \n\t" + svg
    yield "html", b"<!DOCTYPE html><script>alert(1)</script>"
    yield "php", b"<?php system($_GET['x']); ?>"
    yield "gif", encoded(plain(), "GIF")
    yield "animated gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield "bmp", encoded(plain(), "BMP")
    yield "tiff", encoded(plain(), "TIFF")
    yield "heic", b"\x00\x00\x00\x18ftypheic" + bytes(100)
    yield "avif", encoded(plain(), "AVIF")
    yield "film", b"\x00\x00\x00\x18ftypmp42" + bytes(100)
    yield "pdf", b"%PDF-1.7\n" + bytes(100)
    yield "zip", b"PK\x03\x04" + bytes(100)
    yield "elf", b"\x7fELF" + bytes(100)
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (w) file\n"
    yield "icon", b"\x00\x00\x01\x00\x01\x00" + bytes(100)
    yield "text", b"I am a photo, really."
    # Names on the outside, something else inside.
    yield "gif as jpeg", b"\xff\xd8\xff" + encoded(plain(), "GIF")
    yield "html as jpeg", b"\xff\xd8\xff\xe0<script>alert(1)</script>"
    yield "zip as png", b"\x89PNG\r\n\x1a\nPK\x03\x04" + bytes(200)
    yield "wav as webp", b"RIFF" + struct.pack("<I", 40) + b"WAVEfmt " + bytes(32)
    yield "jpeg as webp", b"RIFF" + struct.pack("<I", len(jpeg)) + b"WEBP" + jpeg
    yield "svg in webp", b"RIFF" + struct.pack("<I", len(svg) + 12) + b"WEBPVP8 " + svg
    # Truncated and damaged.
    yield "jpeg, its first half", jpeg[: len(jpeg) // 2]
    yield "jpeg, head only", jpeg[:20]
    yield "jpeg, without its frame", jpeg.replace(b"\xff\xc0", b"\xff\xef")
    yield "jpeg, tables of length 0", jpeg.replace(b"\xff\xdb\x00C", b"\xff\xdb\x00\x00")
    yield "png, its first half", whole_png[: len(whole_png) // 2]
    yield "png, wrong checksum", whole_png[:40] + bytes([whole_png[40] ^ 1]) + whole_png[41:]
    yield "png, no picture", png()
    yield "png, empty picture", png((b"IDAT", b""))
    yield "png, not compressed", png((b"IDAT", bytes(1000)))
    yield "png, of no size", png((b"IDAT", zeros(10)), size=(0, 0))
    yield "png, unknown colours", png((b"IDAT", zeros(1000)), colour=5)
    yield "webp, its first half", whole_webp[: len(whole_webp) // 2]
    yield "webp, head only", whole_webp[:16]
    # Bombs: a small file that becomes large.
    yield "jpeg of 65,000 by 65,000", with_size(jpeg, 65_000, 65_000)
    yield "png of 30,000 by 30,000", png((b"IDAT", zeros(10_000_000)), size=(30_000, 30_000))
    yield "png of four billion", png((b"IDAT", zeros(1000)), size=(65_535, 65_535))
    yield "webp of 16,383 by 16,383", webp(16_383, 16_383)
    yield "webp of 4,000 by 4,000", webp(4_000, 4_000)
    yield "png with a large text", png((b"zTXt", b"x\0\0" + zeros(90_000_000)), (b"IDAT", zeros(1000)))
    yield "a thin line", encoded(plain(40_000, 2), "PNG")
    # Moving.
    yield "animated png", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield "animated webp", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    # Too small to see anybody.
    yield "one pixel", encoded(plain(1, 1), "PNG")


def polyglots() -> Iterator[tuple[str, bytes]]:
    """Yield photos that are something else too, with a secret in it, each with a name."""
    jpeg, png_ = encoded(plain(), "JPEG", comment=SECRET), encoded(plain(), "PNG")
    yield "jpeg with a comment", jpeg
    yield "jpeg, then a ZIP file", jpeg + b"PK\x03\x04" + SECRET
    yield "jpeg, then a page", jpeg + b"<script>alert(1)</script>" + SECRET
    yield "png, then a script", png_ + b"<?php system($_GET['x']); ?>" + SECRET
    yield "png with a text", png_[:33] + _chunk(b"tEXt", b"Comment\0" + SECRET) + png_[33:]
    yield "png with a place", encoded(plain(), "PNG", exif=_exif())
    yield "webp with a place", encoded(plain(), "WEBP", exif=_exif(), xmp=SECRET)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    return exif
