"""Photos are made of pictures, and of nothing else that a file holds; what is not a picture is refused in one line."""

import subprocess
import sys
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageCms

from scheduler.domain.errors import Refused
from scheduler.domain.photo import PHOTO_SIZES, Photo
from scheduler.service.photo_decoder import PhotoDecoder
from scheduler.service.photo_process import make_photos
from tests.pictures import SECRET, encoded, hostile_pictures, phone_photo, plain, polyglots

HOSTILE = dict(hostile_pictures())
POLYGLOTS = dict(polyglots())
RED, BLUE, WHITE = (200, 30, 30), (30, 30, 200), (255, 255, 255)


def opened(photo: Photo) -> Image.Image:
    return Image.open(BytesIO(photo.content)).convert("RGB")


def looks(picture: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    """The colour at a place, to the nearest ten or so: photos are compressed."""
    colour = picture.getpixel(place)
    assert isinstance(colour, tuple)
    return min(
        (RED, BLUE, WHITE), key=lambda known: sum(abs(a - b) for a, b in zip(known, colour, strict=True))
    )


def test_there_are_fifty_hostile_pictures() -> None:
    assert len(HOSTILE) == 50


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_hostile_picture_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(Refused) as refusal:
        make_photos(HOSTILE[name])
    message = refusal.value.message
    assert message.startswith(("the picture ", "the file ")) and message.isprintable()


@pytest.mark.parametrize("name", POLYGLOTS)
def test_only_the_pixels_of_a_file_are_kept(name: str) -> None:
    for photo in make_photos(POLYGLOTS[name]):
        assert SECRET not in photo.content
        assert not Image.open(BytesIO(photo.content)).getexif()


def test_a_photo_is_upright_square_and_without_metadata_in_two_sizes_and_formats() -> None:
    photos = make_photos(phone_photo())
    assert [(photo.size, photo.format) for photo in photos] == [
        (size, format_) for size in PHOTO_SIZES for format_ in ("avif", "jpeg")
    ]
    for photo in photos:
        picture = Image.open(BytesIO(photo.content))
        assert picture.size == (photo.size, photo.size)
        assert not picture.getexif() and "comment" not in picture.info and "icc_profile" not in picture.info
        assert SECRET not in photo.content and b"Made-up" not in photo.content
        # The face is above the middle of an upright picture, so more of its upper half is kept.
        assert looks(opened(photo), (5, photo.size // 2 + 5)) == RED
        assert looks(opened(photo), (5, photo.size - 5)) == BLUE


def test_every_orientation_is_turned_upright() -> None:
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for orientation, turn in undo.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = plain(300, 400) if turn is None else plain(300, 400).transpose(turn)
        picture = opened(make_photos(encoded(stored, "JPEG", exif=exif))[1])
        found = [looks(picture, (96, y)) for y in (5, 105, 186)]
        assert found == [RED, RED, BLUE], orientation


@pytest.mark.parametrize(
    ("mode", "format_"),
    [
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("I;16", "PNG"),
        ("LA", "PNG"),
    ],
)
def test_pictures_of_every_kind_of_colours_are_accepted(mode: str, format_: str) -> None:
    picture = plain().convert("L").convert("I").convert("I;16") if mode == "I;16" else plain(mode=mode)
    assert len(make_photos(encoded(picture, format_))) == 4


def test_what_is_transparent_is_white() -> None:
    picture = plain(mode="RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 320, 120))
    assert looks(opened(make_photos(encoded(picture, "PNG"))[1]), (96, 20)) == WHITE


def test_colours_are_converted_to_srgb_and_a_damaged_profile_is_ignored() -> None:
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    for profile in (swapped.tobytes(), b"no profile"):
        picture = opened(make_photos(encoded(plain(), "JPEG", icc_profile=profile))[1])
        assert looks(picture, (96, 10)) == RED


async def test_a_picture_is_decoded_in_a_process_of_its_own_which_may_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = PhotoDecoder()
    photos = await decoder.decode(phone_photo())
    assert [photo.format for photo in photos] == ["avif", "jpeg"] * 2
    assert opened(photos[0]).size == (192, 192)
    with pytest.raises(Refused, match="damaged"):
        await decoder.decode(HOSTILE["jpeg, its first half"])
    monkeypatch.setattr("scheduler.service.photo_decoder._PROCESS", "scheduler.no_such_module")
    with pytest.raises(Refused, match="cannot be opened"):
        await decoder.decode(phone_photo())


MEASURED = """
import re, sys
from pathlib import Path
from scheduler.service import photo_process
try:
    photo_process.main()
finally:
    kilobytes = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
    print(int(kilobytes) // 1024, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("JPEG", {"progressive": True, "subsampling": 0}),
        ("PNG", {"compress_level": 1}),
        ("CMYK", {"progressive": True}),
    ],
)
def test_the_largest_picture_needs_less_than_300_megabytes(name: str, options: dict[str, Any]) -> None:
    """Some need more than that, and are refused."""
    mode, format_ = {"JPEG": ("RGB", "JPEG"), "PNG": ("RGBA", "PNG"), "CMYK": ("CMYK", "JPEG")}[name]
    content = encoded(Image.new(mode, (7_300, 5_450)), format_, **options)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], input=content, capture_output=True, check=True, timeout=60
    )
    assert int(done.stderr) < 300
    assert done.stdout.startswith(b'{"refused"' if name == "CMYK" else b'{"photos"')
