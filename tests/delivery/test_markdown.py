"""A convenor's words do no harm as HTML, and read well as plain text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.delivery.markdown import as_html, as_text


@pytest.mark.parametrize(
    ("words", "html", "text"),
    [
        ("*warm* and **few**", "<p><em>warm</em> and <strong>few</strong></p>", "*warm* and *few*"),
        ("two\nlines", "<p>two<br>\nlines</p>", "two\nlines"),
        ("two\n\nparagraphs", "<p>two</p>\n<p>paragraphs</p>", "two\n\nparagraphs"),
        ("[here](https://x.example/?a=1&b=2)", '<p><a href="https://x.example/?a=1&amp;b=2">here</a></p>',
         "here (https://x.example/?a=1&b=2)"),
        ("see https://x.example/a_b_c.", '<p>see <a href="https://x.example/a_b_c">https://x.example/a_b_c</a>.</p>',
         "see https://x.example/a_b_c."),
        ("<a@example.org>", '<p><a href="mailto:a@example.org">a@example.org</a></p>', "a@example.org"),
        ("![a rose](https://x.example/r.png)", '<p><a href="https://x.example/r.png">a rose</a></p>',
         "a rose (https://x.example/r.png)"),
        ("[![a rose](https://x.example/r.png)](https://y.example)",
         '<p><a href="https://y.example">a rose</a></p>', "a rose (https://y.example)"),
        ("# A walk\n\nin March", "<h1>A walk</h1>\n<p>in March</p>", "A walk\n\nin March"),
        ("3. three\n4. four", '<ol start="3">\n<li>three</li>\n<li>four</li>\n</ol>', "3. three\n4. four"),
        ("- one\n- two\n  - inner", "<ul>\n<li>one</li>\n<li>two\n<ul>\n<li>inner</li>\n</ul>\n</li>\n</ul>",
         "- one\n- two\n  - inner"),
        ("> said\n> she", "<blockquote>\n<p>said<br>\nshe</p>\n</blockquote>", "> said\n> she"),
        ("`a < b`", "<p><code>a &lt; b</code></p>", "a < b"),
        ("    code\n\n---", "<pre><code>code\n</code></pre>\n<hr>", "    code\n\n* * *"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_markdown_reads_well_in_both_forms(words: str, html: str, text: str) -> None:
    assert as_html(words) == html
    assert as_text(words) == text


@pytest.mark.parametrize(
    "words",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,hello)",
        "[x](/relative)",
        "![x](javascript:alert(1))",
        "<javascript:alert(1)>",
        '[x](https://x.example/"onclick="alert(1))',
        "<!-- --><style>p{}</style>",
    ],
)
def test_nothing_that_could_act_or_load_becomes_html(words: str) -> None:
    tags = re.findall(r"<[^>]*>", as_html(words))
    assert not [tag for tag in tags if re.search(r"script|img|style|\son|javascript|data:|relative", tag)]


@given(st.text(st.sampled_from("*_`[]()!<>#-+1. \n\thttps:/xé&\"'\\~|")))
def test_any_words_become_known_tags_only(words: str) -> None:
    tags = set(re.findall(r"</?([a-z0-9]+)", as_html(words)))
    assert tags <= set("p br strong em a ul ol li blockquote code pre h1 h2 h3 h4 h5 h6 hr".split())
    as_text(words)
