"""Convert what convenors write in Markdown to clean HTML and to plain text."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from html import unescape
from itertools import count
from typing import NamedTuple

import nh3
from linkify_it import LinkifyIt
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

from scheduler.domain.placeholder import PATTERN, find_placeholder, suggest

_WWW = re.compile(r"(?<![\w/.@-])www\.[^\s<>]*", re.IGNORECASE)
_IMAGE_TAG = re.compile(r"<img\b", re.IGNORECASE)
# Placeholders as other programs write them: {{name}}, ${name}, {first name}, [[name]], %name%, *|NAME|*, <<name>>.
_FOREIGN = re.compile(
    r"\{\{[^{}\n]{0,60}\}\}|\{%[^{}\n]{0,60}%\}|(?<![\w/?&=])\$\{[A-Za-z_][\w .-]{0,30}\}|"
    r"(?<![\w/?&=])\{[A-Za-z_]\w* [\w .-]{0,30}\}|"
    r"\[\[[^\[\]\n]{1,60}\]\]|(?<![\w/?&=])%%?[A-Za-z]\w{0,30}%%?|\*\|[^|\n]{1,60}\|\*|<<[^<>\n]{1,60}>>"
)


_IN_ADDRESS = re.compile(r"%7B([A-Za-z_][\w.-]{0,30})%7D", re.ASCII)
"""A placeholder that is the whole address of a link, as markdown-it encodes it."""


class Filled(NamedTuple):
    """What stands in the place of a placeholder: a text; an address, if it `is_link`; a time has its `instant` too."""

    text: str
    is_link: bool = False
    instant: str = ""


Filling = Mapping[str, Filled]
"""What to fill in, by the names of placeholders; others stay as they were typed."""

_NOTHING: Filling = {}


class Found(NamedTuple):
    """A placeholder as it was typed, its name, the line it is on, and whether it is the address of a link."""

    typed: str
    name: str
    line: int
    is_address: bool


def _lines(words: str) -> Iterator[tuple[Token, int]]:
    """Yield the tokens within paragraphs, cells and headings, each with its line number, from 1."""
    row = 1
    for block in _MARKDOWN.parse(words):
        row = block.map[0] + 1 if block.map else row
        line = row
        for token in block.children or ():
            if token.type in ("softbreak", "hardbreak"):
                line += 1
            yield token, line


def images(words: str) -> list[int]:
    """Return the line numbers, from 1, of the images in `words`: images are not sent."""
    return [
        line
        for token, line in _lines(words)
        if token.type == "image" or (token.type == "text" and _IMAGE_TAG.search(token.content))
    ]


def placeholders(words: str) -> list[Found]:
    """Return the placeholders in `words`, known or not, in order. Those in code are text."""
    found = []
    for token, line in _lines(words):
        if token.type == "placeholder":
            found.append(Found(token.content, token.info, line, is_address=False))
        elif token.type == "link_open" and (match := _IN_ADDRESS.fullmatch(str(token.attrs["href"]))):
            found.append(Found(f"{{{match[1]}}}", match[1], line, is_address=True))
    return found


def placeholder_problem(words: str) -> str:
    """Return what is wrong with the first placeholder that cannot be filled in, with its line; empty if all can be."""
    for found in placeholders(words):
        known = find_placeholder(found.name)
        if known is None:
            return (
                f"line {found.line}: {found.typed} is not a placeholder ({suggest(found.name)}); "
                f"for the text itself, write \\{found.typed}"
            )
        if found.is_address and not known.purpose:
            return f"line {found.line}: {found.typed} is not the address of a link"
    return ""


def foreign_placeholders(words: str) -> list[str]:
    """Return what looks like a placeholder of another program, such as {{name}}: it is sent as it was typed."""
    return list(dict.fromkeys(_FOREIGN.findall(words)))


def as_html(words: str, filling: Filling = _NOTHING) -> str:
    """Return `words` as clean HTML: text, lists, tables, quotes and links. An image becomes a link to it."""
    return _CLEANER.clean(_MARKDOWN.renderer.render(_parse(words, filling), _MARKDOWN.options, {})).strip()


@lru_cache(maxsize=50)
def as_section(words: str, *, level: int) -> str:
    """Return `words` as clean HTML for a part of a page: the highest heading is of `level`, and no level is missing.

    The last ones are kept, because a long text takes 20 ms and more.
    """
    html = as_html(words)
    levels = sorted({int(number) for _, number in _HEADING.findall(html)})
    return _HEADING.sub(lambda tag: f"{tag[1]}{min(6, levels.index(int(tag[2])) + level)}>", html)


def as_text(words: str, filling: Filling = _NOTHING) -> str:
    """Return `words` as plain text, with the address of each link in brackets after its text."""
    return _block(SyntaxTreeNode(_parse(words, filling)))


def as_words(words: str) -> str:
    """Return the words of `words` alone, without marks of lists, tables and emphasis, and a line for each block."""
    html = _BLOCK_END.sub("\n", as_html(words))
    return "\n".join(
        filter(None, (" ".join(line.split()) for line in unescape(_TAG.sub("", html)).split("\n")))
    )


_BLOCK_END = re.compile(r"</(?:p|li|h[1-6]|t[hdr]|blockquote|pre)>|<[bh]r[^>]*>")
_TAG = re.compile(r"<[^>]*>")
_HEADING = re.compile(r"(</?h)([1-6])>")


class _Markdown(MarkdownIt):
    def normalizeLinkText(self, link: str) -> str:  # noqa: N802 - markdown-it's own name, made to be replaced
        """Return `link` unchanged: a bare address is shown as it was typed."""
        return link


def _markdown() -> MarkdownIt:
    # No raw HTML: what looks like a tag is shown as it was typed. Line ends are kept as line breaks.
    markdown = _Markdown("commonmark", {"html": False, "breaks": True, "linkify": True})
    markdown.linkify = _LINKS
    markdown.enable(["table", "linkify"])
    markdown.inline.ruler.before("escape", "www", _www)
    markdown.inline.ruler.before("escape", "placeholder", _placeholder)
    return markdown


def _placeholder(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by position
    match = PATTERN.match(state.src, state.pos, state.posMax)
    if not match:
        return False
    if not silent:
        state.push("placeholder", "", 0).content = match[0]
        state.tokens[-1].info = match[1]
    state.pos = match.end()
    return True


def _www(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by position
    """Make an address that begins with www. a link, before any of its characters is taken for emphasis."""
    beginning = None if state.linkLevel else re.search(_WWW.pattern + "$", state.pending, re.IGNORECASE)
    address = beginning and _www_address(beginning[0] + state.src[state.pos :])
    if not beginning or not address or len(address) <= len(beginning[0]):
        return False
    if not silent:
        state.pending = state.pending[: beginning.start()]
        state.push("link_open", "a", 1).attrs = {"href": state.md.normalizeLink(f"http://{address}")}
        state.push("text", "", 0).content = address
        state.push("link_close", "a", -1)
    state.pos += len(address) - len(beginning[0])
    return True


def _www_address(text: str) -> str:
    """Return the address that `text` begins with, or an empty string."""
    match = _LINKS.match_at_start(f"http://{text}")
    return match.url.removeprefix("http://").rstrip("*") if match else ""


def _length(links: LinkifyIt, text: str, place: int) -> int:
    """Return the length of the rest of an address, which starts at `place` after its scheme.

    linkify does not know the closing quotation marks and full stops of some languages; the address ends before them.
    """
    match = _HTTP.match_at_start("http:" + _OTHER_ENDS.split(text[place:], maxsplit=1)[0])
    return len(match.url) - len("http:") if match else 0


_OTHER_ENDS = re.compile("[»”。，、；！？）」』】》]")
# Only email addresses, and addresses that begin with a scheme: "notes.md" is not a link.
_OPTIONS = {"fuzzy_link": False, "fuzzy_email": True, "fuzzy_ip": False}
_HTTP = LinkifyIt(options=_OPTIONS)
_LINKS = LinkifyIt(options=_OPTIONS)
for _scheme in ("http:", "https:", "webcal:"):
    _LINKS.add(_scheme, {"validate": _length})
_MARKDOWN = _markdown()
_CLEANER = nh3.Cleaner(
    tags=set(
        "p br strong em a ul ol li blockquote code pre h1 h2 h3 h4 h5 h6 hr table thead tbody tr th td time".split()
    ),
    attributes={"a": {"href"}, "ol": {"start"}, "time": {"datetime"}},
    url_schemes={"https", "http", "mailto", "tel", "webcal"},
    set_tag_attribute_values={"table": {"class": "grid"}},
    url_relative="deny",
    link_rel=None,
)


def _parse(words: str, filling: Filling) -> list[Token]:
    tokens = _MARKDOWN.parse(words)
    for token in tokens:
        token.children = list(_linked(token.children, filling)) if token.children else token.children
    return tokens


def _linked(children: list[Token], filling: Filling) -> Iterator[Token]:
    """Yield the inline tokens, with images and addresses that begin with www. as links, and placeholders filled in."""
    inside = 0
    for token in children:
        inside += token.nesting if token.type.startswith("link_") else 0
        if token.type == "link_open" and (match := _IN_ADDRESS.fullmatch(str(token.attrs["href"]))):
            if (filled := filling.get(match[1].lower())) and filled.is_link:
                token.attrs["href"] = filled.text
            yield token
        elif token.type == "placeholder":
            yield from _filled(token, filling.get(token.info.strip().lower()), in_link=inside > 0)
        elif token.type == "image":
            url = str(token.attrs["src"])
            yield from _words(token.content or url) if inside else _link(token.content or url, url)
        elif token.type == "text" and not inside:
            end = 0
            for match in _WWW.finditer(token.content):
                address = _www_address(match[0])
                yield from _words(token.content[end : match.start()])
                yield from _link(address, f"http://{address}") if address else ()
                end = match.start() + len(address)
            yield from _words(token.content[end:])
        else:
            yield token


def _filled(token: Token, filled: Filled | None, *, in_link: bool) -> Iterator[Token]:
    if filled is None:
        yield from _words(token.content)
    elif filled.is_link and not in_link:
        yield from _link(filled.text, filled.text)
    elif filled.instant:
        yield Token("time_open", "time", 1, attrs={"datetime": filled.instant})
        yield from _words(filled.text)
        yield Token("time_close", "time", -1)
    else:
        yield from _words(filled.text)


def _words(text: str) -> Iterator[Token]:
    if text:
        yield Token("text", "", 0, content=text)


def _link(text: str, url: str) -> Iterator[Token]:
    yield Token("link_open", "a", 1, attrs={"href": url})
    yield from _words(text)
    yield Token("link_close", "a", -1)


def _block(node: SyntaxTreeNode) -> str:
    match node.type:
        case "inline":
            return "".join(_inline(child) for child in node.children)
        case "fence" | "code_block":
            return _indented(node.content.rstrip("\n"), "    ", "    ")
        case "blockquote":
            return _indented(_blocks(node), "> ", "> ")
        case "bullet_list":
            return _list(node, iter(lambda: "- ", None))
        case "ordered_list":
            first = int(node.attrs.get("start", 1))
            return _list(node, (f"{number}. " for number in count(first)))
        case "table":
            return _table(
                [[_block(cell) for cell in row.children] for part in node.children for row in part.children]
            )
        case "hr":
            return "* * *"
    return _blocks(node)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as aligned columns, with a line below the headings."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = [
        " | ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-+-".join("-" * width for width in widths), *lines[1:]])


def _width(text: str) -> int:
    """Return the number of columns that `text` takes in a monospaced font."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _blocks(node: SyntaxTreeNode, between: str = "\n\n") -> str:
    return between.join(filter(None, (_block(child) for child in node.children)))


def _list(node: SyntaxTreeNode, marks: Iterator[str]) -> str:
    tight = all(part.hidden for item in node.children for part in item.children if part.type == "paragraph")
    between = "\n" if tight else "\n\n"
    items = ((mark, _blocks(item, between)) for mark, item in zip(marks, node.children, strict=False))
    return between.join(_indented(text, mark, " " * len(mark)) for mark, text in items)


def _indented(text: str, first: str, rest: str) -> str:
    lines = ((rest if number else first) + line for number, line in enumerate(text.split("\n")))
    return "\n".join(line.rstrip() for line in lines)


def _inline(node: SyntaxTreeNode) -> str:
    inside = "".join(_inline(child) for child in node.children)
    match node.type:
        case "text" | "code_inline":
            return node.content
        case "softbreak" | "hardbreak":
            return "\n"
        case "strong" | "em":
            return f"*{inside}*"
        case "link":
            url = str(node.attrs["href"])
            bare = (_MARKDOWN.normalizeLink(prefix + inside) for prefix in ("", "mailto:", "http://"))
            return inside if not url or url in bare else f"{inside} ({url})"
    return inside
