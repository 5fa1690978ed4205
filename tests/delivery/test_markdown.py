"""What convenors write becomes safe HTML and readable plain text."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.delivery.compose.markdown import as_html, as_section, as_text, foreign_placeholders, images


@pytest.mark.parametrize(
    ("words", "html", "text"),
    [
        ("*warm* and **few**", "<p><em>warm</em> and <strong>few</strong></p>", "*warm* and *few*"),
        ("two\nlines", "<p>two<br>\nlines</p>", "two\nlines"),
        ("two\n\nparagraphs", "<p>two</p>\n<p>paragraphs</p>", "two\n\nparagraphs"),
        (
            "[here](https://x.example/?a=1&b=2)",
            '<p><a href="https://x.example/?a=1&amp;b=2">here</a></p>',
            "here (https://x.example/?a=1&b=2)",
        ),
        (
            "see https://x.example/a_b_c.",
            '<p>see <a href="https://x.example/a_b_c">https://x.example/a_b_c</a>.</p>',
            "see https://x.example/a_b_c.",
        ),
        ("<a@example.org>", '<p><a href="mailto:a@example.org">a@example.org</a></p>', "a@example.org"),
        (
            "![a rose](https://x.example/r.png)",
            '<p><a href="https://x.example/r.png">a rose</a></p>',
            "a rose (https://x.example/r.png)",
        ),
        (
            "[![a rose](https://x.example/r.png)](https://y.example)",
            '<p><a href="https://y.example">a rose</a></p>',
            "a rose (https://y.example)",
        ),
        ("# A walk\n\nin March", "<h1>A walk</h1>\n<p>in March</p>", "A walk\n\nin March"),
        ("3. three\n4. four", '<ol start="3">\n<li>three</li>\n<li>four</li>\n</ol>', "3. three\n4. four"),
        (
            "- one\n- two\n  - inner",
            "<ul>\n<li>one</li>\n<li>two\n<ul>\n<li>inner</li>\n</ul>\n</li>\n</ul>",
            "- one\n- two\n  - inner",
        ),
        ("> said\n> she", "<blockquote>\n<p>said<br>\nshe</p>\n</blockquote>", "> said\n> she"),
        ("`a < b`", "<p><code>a &lt; b</code></p>", "a < b"),
        ("    code\n\n---", "<pre><code>code\n</code></pre>\n<hr>", "    code\n\n* * *"),
        ("", "", ""),
    ],
)
def test_markdown_reads_well_in_both_forms(words: str, html: str, text: str) -> None:
    assert as_html(words) == html
    assert as_text(words) == text


@pytest.mark.parametrize(
    "address",
    [
        "https://wiki.example.org/Kindness_(virtue)",
        "https://video.example.org/watch/_aBc-dEf_",
        "https://git.example.org/src/__init__/main.py",
        "https://shop.example.org/p?item=N82&re=m65-_-26-_-Book",
        "https://example.org/o'neill/page",
        "https://example.org/A_(b)_(c)",
        "https://example.org/?copy=1&copy=2&lt=3&amp;x",
        "https://example.org/%C3%A9t%C3%A9/été",
        "https://example.org/~ann/*one*two*/three",
        "https://example.org/a\\_b\\*c",
        "https://example.org/`a`_b_",
        "https://example.org/@ann/_b_;c=_d_",
        "https://example.org/#:~:text=_a_",
        "https://example.org/a[1]_b_[2]",
        "https://bücher.example/_a_",
        "http://127.0.0.1:8000/me/_a_",
        "HTTPS://Example.org/_A_",
        "webcal://example.org/_a_.ics",
        "www.example.org/_a_/b",
        "www.example.org",
        "https://example.org/a,_b_",
    ],
)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "see {}.",
        "({})",
        "first\n{}\nlast",
        "- {}",
        "**{}**",
        "«{}», so",
        "网址：{}。再见",
        "see {}, and {}!",
    ],
)
def test_a_bare_address_is_one_link_and_unchanged_in_the_text(address: str, around: str) -> None:
    words = around.replace("{}", address)
    shown = re.findall(r"<a href=\"[^\"]*\">([^<]*)</a>", as_html(words))
    assert [unescape(link_text) for link_text in shown] == [address] * around.count("{}")
    assert as_text(words) == words.replace("**", "*" if "**{}" in around else "**")


def test_a_mail_address_is_one_link_and_unchanged_in_the_text() -> None:
    words = "Write to ann_b_c@example.org, or (_bo_x@example.org)."
    assert re.findall(">([^<]*@[^<]*)</a>", as_html(words)) == ["ann_b_c@example.org", "_bo_x@example.org"]
    assert as_text(words) == words


def test_headings_in_a_part_of_a_page_leave_out_no_level() -> None:
    assert as_section("## One\n\n#### Two", level=3) == "<h3>One</h3>\n<h4>Two</h4>"
    assert as_section("# One\n\n## Two\n\n### Three", level=5) == "<h5>One</h5>\n<h6>Two</h6>\n<h6>Three</h6>"


def test_a_table_is_shown_in_both_forms() -> None:
    words = "Dates:\n\n| day | who |\n|-----|:---:|\n| 19 | **Zoë** |\n| 20 | 李明, https://x.example/_a_ |"
    lines = [
        "day | who",
        "----+----------------------------",
        "19  | *Zoë*",
        "20  | 李明, https://x.example/_a_",
    ]
    assert as_text(words) == "Dates:\n\n" + "\n".join(lines)
    assert (
        re.findall("<(t[a-z]+)", as_html(words))
        == ["table", "thead", "tr", "th", "th", "tbody"]
        + [
            "tr",
            "td",
            "td",
        ]
        * 2
    )


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("![a rose](https://x.example/r.png)", [1]),
        ("one\n\ntwo\nthree ![a][r]\n\n[r]: https://x.example/r.png", [4]),
        ("- a\n- ![b](b.png)", [2]),
        ('a <IMG src="x.png"> b', [1]),
        ("[a rose](https://x.example/r.png), wow! [b]", []),
        ("`![a](b)`", []),
    ],
)
def test_images_are_reported_with_their_lines(words: str, lines: list[int]) -> None:
    assert images(words) == lines


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("Dear {{name}}, dear {{ name }} and {{name}}", ["{{name}}", "{{ name }}"]),
        (
            "{first name} ${name} [[name]] %FNAME% %%name%% *|FNAME|* <<Name>> {% if a %}",
            [
                "{first name}",
                "${name}",
                "[[name]]",
                "%FNAME%",
                "%%name%%",
                "*|FNAME|*",
                "<<Name>>",
                "{% if a %}",
            ],
        ),
        ("100% sure, 5 % of 20%; https://x.example/%C3%A9?a={b} [a](b) a < b << c {1, 2}", []),
    ],
)
def test_placeholders_of_other_programs_are_recognised(words: str, found: list[str]) -> None:
    assert foreign_placeholders(words) == found


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
def test_nothing_that_could_run_or_load_content_becomes_html(words: str) -> None:
    tags = re.findall(r"<[^>]*>", as_html(words))
    assert not [tag for tag in tags if re.search(r"script|img|style|\son|javascript|data:|relative", tag)]


@given(st.text(st.sampled_from("*_`[]()!<>#-+1. \n\thttps:/xé&\"'\\~|")))
def test_any_text_becomes_known_tags_only(words: str) -> None:
    tags = set(re.findall(r"</?([a-z0-9]+)", as_html(words)))
    assert tags <= set(
        "p br strong em a ul ol li blockquote code pre h1 h2 h3 h4 h5 h6 hr table thead tbody tr th td".split()
    )
    as_text(words)
