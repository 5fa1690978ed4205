"""Convenors may edit templates: an error in one is reported with its file and line."""

from pathlib import Path
from shutil import copytree

import pytest

from scheduler.delivery.compose.templates import Templates
from scheduler.domain.errors import Problem
from tests.delivery.mails import DATE, NOTICE, REMINDER, TEMPLATES, composer, personal, received


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copytree(TEMPLATES, tmp_path / "email")


def test_an_unknown_variable_is_reported_with_file_line_and_known_variables(folder: Path) -> None:
    path = folder / "reminder" / "body.html"
    path.write_text(
        path.read_text(encoding="utf-8").replace('{% include "_answer.html" %}', "\n{{ nmae }}"),
        encoding="utf-8",
    )
    line = path.read_text(encoding="utf-8").splitlines().index("{{ nmae }}") + 1
    with pytest.raises(
        Problem, match=f"reminder/body.html, line {line}: 'nmae' is undefined; this template may use .*name"
    ):
        composer(folder).compose(REMINDER)


def test_an_unknown_attribute_in_an_included_file_is_located_there(folder: Path) -> None:
    (folder / "_when.txt").write_text("\n{{ when.wekday }}\n", encoding="utf-8")
    with pytest.raises(Problem, match=r"_when.txt, line 2: .* has no attribute 'wekday'"):
        composer(folder).compose(REMINDER)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{% if %}", "line 2: Expected an expression"),
        ("{{ when.day", "line 2: unexpected end of template"),
        ("{% block main %}", "line 2: Unexpected end of template"),
        ("{{ when.day | shout }}", "line 2: No filter named 'shout'"),
        ("{{ 1 / 0 }}", "line 2: division by zero"),
        ("{{ when() }}", "line 2: 'LocalTime' object is not callable"),
        ("{% include 'nowhere.txt' %}", "nowhere.txt: this template is missing"),
    ],
)
def test_a_template_that_cannot_be_read_or_rendered_is_reported_on_one_line_with_its_place(
    folder: Path, wrong: str, message: str
) -> None:
    (folder / "reminder" / "body.txt").write_text(f"Hello\n{wrong}", encoding="utf-8")
    with pytest.raises(Problem) as caught:
        composer(folder).compose(REMINDER)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(folder))


def test_a_template_that_is_missing_or_not_utf8_is_named(folder: Path) -> None:
    (folder / "reminder" / "body.html").write_bytes(b"caf\xe9")
    with pytest.raises(Problem, match=r"reminder/body.html: .*utf-8"):
        composer(folder).compose(REMINDER)
    (folder / "reminder" / "body.html").unlink()
    with pytest.raises(Problem, match=r"reminder/body.html: this template is missing"):
        composer(folder).compose(REMINDER)


def test_templates_that_cannot_be_read_are_named_before_any_mail_is_due(folder: Path) -> None:
    writer = composer(folder)
    assert writer.prepare() == []
    (folder / "reminder" / "body.html").write_bytes(b"caf\xe9")
    (folder / "_when.txt").write_text("Hello\n{% if %}", encoding="utf-8")
    (folder / "notes.md").write_text("{% if %}", encoding="utf-8")
    when, reminder = sorted(map(str, writer.prepare()))
    assert when == f"{folder / '_when.txt'}, line 2: Expected an expression, got 'end of statement block'"
    assert reminder.startswith(f"{folder / 'reminder' / 'body.html'}: ") and "\n" not in reminder


@pytest.mark.parametrize("use", ["{{ name | upper }}", "{{ name | title }}", "{{ name[:12] }}"])
def test_a_filter_on_a_members_value_is_refused(folder: Path, use: str) -> None:
    with (folder / "notice" / "body.txt").open("a", encoding="utf-8") as file:
        file.write(f"{{% block opening %}}{use}{{% endblock %}}")
    with pytest.raises(
        Problem, match=r"notice/body.txt: name, address, leave_url, .* differ for each member"
    ):
        composer(folder).compose(NOTICE)


def test_a_subject_cannot_use_a_members_values(folder: Path) -> None:
    (folder / "reminder" / "subject.txt").write_text("{{ name }}, {{ when.line }}", encoding="utf-8")
    with pytest.raises(Problem, match=r"reminder/subject.txt, line 1: 'name' is undefined"):
        composer(folder).compose(REMINDER)


def test_a_notice_cannot_use_the_link_to_join(folder: Path) -> None:
    with (folder / "notice" / "body.txt").open("a", encoding="utf-8") as file:
        file.write("{% block opening %}{{ join_url }}{% endblock %}")
    with pytest.raises(Problem, match="'join_url' is undefined"):
        composer(folder).compose(NOTICE)


def test_an_edited_template_is_used_for_the_next_cohort(folder: Path) -> None:
    writer = composer(folder)
    writer.compose(REMINDER)
    path = folder / "_when.txt"
    path.write_text("Come! " + path.read_text(encoding="utf-8"), encoding="utf-8")
    text = received(writer.compose(REMINDER).message(personal(REMINDER), date=DATE)).text
    assert text.startswith("Come! Friday 20 November 2026\n")


def test_a_rendered_text_has_every_value_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "notice").mkdir()
    (tmp_path / "notice" / "body.txt").write_text(
        "{{ name }}  {{ leave_url }}\n\n\n\n{{ name }}\n", encoding="utf-8"
    )
    form = Templates(tmp_path).text(
        "notice", {"x": 1}, {"name": ("", "n", ""), "leave_url": ("u/", "leave", "")}
    )
    assert form.pieces == ("", "n", "  u/", "leave", "\n\n", "n", "\n")
    assert form.literal == "  u/\n\n\n"
