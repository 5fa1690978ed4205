"""A community's own colour and logo appear on its pages, and what cannot be used is refused at the start."""

import struct
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from scheduler.domain.errors import SettingsProblem
from scheduler.domain.palette import palette_of
from scheduler.web.brand import read_logo
from tests.installation import COMMUNITY, Installation
from tests.web.conftest import make_app

SVG = '<svg xmlns="http://www.w3.org/2000/svg" {}><path d="M0 0h9v9z"/></svg>'


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x02\0\0\0"


async def test_pages_take_the_communitys_colour_and_logo(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "logo.svg"
    file.write_text(SVG.format('viewBox="0 0 80 20"'), encoding="utf-8")
    app = make_app(
        installation,
        community=replace(COMMUNITY, palette=palette_of("#7a1f5c")),
        logo=read_logo(str(file)),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as visitor:
        for path in ("/archive", "/join", "/convenor/sign-in"):
            page = (await visitor.get(path)).text
            assert '<img src="/logo" alt="Conversation for Kindness" width="144" height="36">' in page, path
            assert '<link rel="stylesheet" href="/theme.css?accent=7a1f5c">' in page, path
        theme = await visitor.get("/theme.css?accent=7a1f5c")
        assert (
            theme.headers["Content-Type"].startswith("text/css")
            and "immutable" in theme.headers["Cache-Control"]
        )
        assert "--accent: #7a1f5c;" in theme.text and "prefers-color-scheme: dark" in theme.text
        shown = await visitor.get("/logo")
        assert shown.content == file.read_bytes() and shown.headers["Content-Type"] == "image/svg+xml"
        assert "sandbox" in shown.headers["Content-Security-Policy"]


async def test_with_the_default_colour_and_no_logo_pages_load_nothing_more(
    visitor: httpx.AsyncClient,
) -> None:
    page = (await visitor.get("/archive")).text
    assert "theme.css" not in page and 'src="/logo"' not in page
    assert (await visitor.get("/logo")).status_code == 404


@pytest.mark.parametrize(
    ("content", "width"),
    [
        (png(400, 100), 144),
        (png(1, 1000), 1),
        (SVG.format('width="72" height="36"').encode(), 72),
        (SVG.format('width="10px" height="5.0px" viewBox="0 0 1 1"').encode(), 72),
        (SVG.format('width="100%" height="2em" viewBox="0,0,30,10"').encode(), 108),
    ],
)
def test_the_size_of_a_logo_is_known_before_it_is_loaded(content: bytes, width: int, tmp_path: Path) -> None:
    (tmp_path / "logo").write_bytes(content)
    logo = read_logo(str(tmp_path / "logo"))
    assert logo and (logo.width, logo.height) == (width, 36)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff\xe0 a photo",
        b"<html><body>no</body></html>",
        b"\x89PNG\r\n\x1a\n",
        png(0, 0),
        SVG.format("").encode(),
        SVG.format('viewBox="a b c d"').encode(),
        SVG.format('viewBox="0 0 0 10"').encode(),
        b"<svg",
        b" " * 200_000,
    ],
)
def test_a_file_that_is_no_logo_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "logo").write_bytes(content)
    with pytest.raises(SettingsProblem, match=r"^\[community\] logo: .*logo (is no|has)[^\n]*$"):
        read_logo(str(tmp_path / "logo"))
    with pytest.raises(SettingsProblem, match="cannot be read"):
        read_logo(str(tmp_path / "missing.svg"))
