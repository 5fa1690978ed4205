"""The page about the community is harmless, whatever its Markdown says, and its headings fit the page."""

from html.parser import HTMLParser

import pytest

from scheduler.service.about import about_html

_SCRIPT = "javascript:alert(1)"
_ADDRESSES = (
    _SCRIPT,
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "java\tscript:alert(1)",
    "javascript&colon;alert(1)",
    "&#106;avascript:alert(1)",
    "&#x6A;avascript:alert(1)",
    "vbscript:msgbox(1)",
    "data:text/html,<script>alert(1)</script>",
    "data:image/svg+xml;base64,PHN2Zz4=",
    "file:///etc/passwd",
    "blob:https://example.org/x",
    "//example.com/x",
    "/convenor/sign-out",
    "../secret",
    "\\\\example.com\\x",
)
_TAGS = (
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//example.com/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src='https://example.com'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=https://example.com onclick=alert(1)>x</a>",
    "<form action=https://example.com><input name=x></form>",
    "<style>body{display:none}</style>",
    "<link rel=stylesheet href=//example.com>",
    "<meta http-equiv=refresh content='0;url=//example.com'>",
    "<base href=//example.com/>",
    "<object data=x></object>",
    "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
    "<!--><script>alert(1)</script-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<details open ontoggle=alert(1)>",
    "</div></main><script>alert(1)</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<p style='position:fixed'>x</p>",
)
HOSTILE = [
    *(f"[x]({address})" for address in _ADDRESSES),
    *_TAGS,
    f"![x]({_SCRIPT})",
    f"<{_SCRIPT}>",
    f"[x][1]\n\n[1]: {_SCRIPT}",
    '[x](https://example.org "\\" onmouseover=alert(1)")',
    '[x](https://example.org"onmouseover="alert(1))',
    "```html\n<script>alert(1)</script>\n```",
    "`<script>alert(1)</script>`",
    "| a |\n|---|\n| <script>alert(1)</script> |",
    "# <script>alert(1)</script>",
    "- " * 200 + "x",
    "> " * 200 + "x",
    "*" * 2_000 + "x",
    "[" * 2_000 + "x" + "](y)" * 2_000,
    "{{ 7 * 7 }} {% include 'layout.html' %}",
]
_ALLOWED = {
    *("p br strong em a ul ol li blockquote code pre hr table thead tbody tr th td time".split()),
    *("h2 h3 h4 h5 h6".split()),
}
_HARMLESS = {("table", "class"), ("ol", "start"), ("a", "title")}


class _Faults(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            is_link = (tag, name) == ("a", "href") and (value or "").startswith(("https://", "http://"))
            if not is_link and (tag, name) not in _HARMLESS:
                self.found.append(f"{tag} {name}={value}")
        if tag not in _ALLOWED:
            self.found.append(tag)

    def handle_comment(self, data: str) -> None:
        self.found.append(f"comment {data}")


def test_there_are_fifty_hostile_texts() -> None:
    assert len(HOSTILE) == 50


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_harmless(text: str) -> None:
    assert _Faults(about_html(text)).found == []


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("# A\n\n## B", "23"),
        ("## A\n\n## B", "22"),
        ("### A\n\n##### B\n\n### C", "232"),
        ("# A\n\n###### B", "23"),
    ],
)
def test_headings_begin_below_the_heading_of_the_page_and_leave_no_level_out(text: str, levels: str) -> None:
    html = about_html(text)
    assert "".join(part[0] for part in html.split("<h")[1:]) == levels
    assert html.count("</h") == len(levels)
