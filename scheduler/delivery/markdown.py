"""A convenor's words: written in Markdown, read by members as HTML that can do no harm, or as plain text."""

import re
from collections.abc import Iterator
from itertools import count

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

# No raw HTML: what looks like a tag is shown as it was typed, and so is the end of a line.
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True})
_BARE_URL = re.compile(r"https?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]}*_]")
_CLEANER = nh3.Cleaner(
    tags=set("p br strong em a ul ol li blockquote code pre h1 h2 h3 h4 h5 h6 hr".split()),
    attributes={"a": {"href"}, "ol": {"start"}},
    url_schemes={"https", "http", "mailto", "tel", "webcal"},
    url_relative="deny",
    link_rel=None,
)


def as_html(words: str) -> str:
    """Return `words` as clean HTML: text, lists, quotes and links. A picture becomes a link to it, never content."""
    return _CLEANER.clean(_MARKDOWN.renderer.render(_parse(words), _MARKDOWN.options, {})).strip()


def as_text(words: str) -> str:
    """Return `words` as plain text, with the address of each link behind its words."""
    return _block(SyntaxTreeNode(_parse(words)))


def _parse(words: str) -> list[Token]:
    tokens = _MARKDOWN.parse(words)
    for token in tokens:
        token.children = list(_linked(token.children)) if token.children else token.children
    return tokens


def _linked(children: list[Token]) -> Iterator[Token]:
    """The inline tokens with pictures and bare addresses as links."""
    inside = 0
    for token in children:
        inside += token.nesting if token.type.startswith("link_") else 0
        if token.type == "image":
            url = str(token.attrs["src"])
            yield from _words(token.content or url) if inside else _link(token.content or url, url)
        elif token.type == "text" and not inside:
            place = 0
            for found in _BARE_URL.finditer(token.content):
                yield from _words(token.content[place : found.start()])
                yield from _link(found[0], found[0])
                place = found.end()
            yield from _words(token.content[place:])
        else:
            yield token


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
        case "hr":
            return "* * *"
    return _blocks(node)


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
            return inside if url.removeprefix("mailto:") == inside else f"{inside} ({url})"
    return inside
