"""Render the templates of mails: once for a whole cohort, with blanks for the members' own values."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import css_inline
from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
    select_autoescape,
)

from scheduler.delivery.compose.template_words import install_translations
from scheduler.domain.errors import Problem

_LINE_ENDS = re.compile(r"\s*\n\s*")
_SURPLUS_SPACE = re.compile(r"[ \t]+$", re.MULTILINE)
_SURPLUS_LINES = re.compile(r"\n{3,}")


Blanks = Mapping[str, tuple[str, str, str]]
"""By the variable's name in the templates: the text before the blank, the name of the blank, and the text after it."""


@runtime_checkable
class WithBlanks(Protocol):
    """A value for templates that has blanks of its own, for a member's values within a convenor's words."""

    def with_blanks(self, marks: Mapping[str, str]) -> object:
        """Return the value; `marks` has the text that stands for each blank, by the names of Blanks."""


class TextTemplate:
    """A rendered text with blanks."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = tuple(pieces)
        """Literal text and, as every second piece, the name of a blank."""

    @property
    def literal(self) -> str:
        """The text without its blanks."""
        return "".join(self.pieces[::2])


def _on_one_line(text: str) -> str:
    return _LINE_ENDS.sub(" ", text.strip())


def tidy(text: str) -> str:
    """Return `text` without the surplus blank lines that conditions leave, ending with one line end."""
    return _SURPLUS_LINES.sub("\n\n", _SURPLUS_SPACE.sub("", text)).strip("\n") + "\n"


class Templates:
    """The folder `templates/email`, which has `subject.txt`, `body.txt` and `body.html` for each kind of mail.

    A file that is edited while the service runs is used from the next cohort on. All methods raise Problem, naming
    file and line, where a template cannot be read or rendered.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = Environment(
            loader=FileSystemLoader(folder),
            undefined=StrictUndefined,
            autoescape=select_autoescape(("html",)),
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        install_translations(self._environment)
        # Never fetch a style sheet over the network: mail must not wait for another server.
        self._inliner = css_inline.CSSInliner(load_remote_stylesheets=False)

    def load(self) -> list[Problem]:
        """Load all templates, so that no mail has to wait for it; return a problem for each that is wrong."""
        problems = []
        for name in self._environment.list_templates(extensions=("txt", "html")):
            try:
                with self._locate_errors(name):
                    self._environment.get_template(name)
            except Problem as problem:
                problems.append(problem)
        return problems

    def subject(self, kind: str, values: Mapping[str, object], blanks: Blanks) -> TextTemplate:
        """Return the subject on one line, with `blanks`."""
        return self._render_with_blanks(f"{kind}/subject.txt", values, blanks, finish=_on_one_line)

    def text(self, kind: str, values: Mapping[str, object], blanks: Blanks) -> TextTemplate:
        """Return the text with `blanks`, without the surplus blank lines that conditions leave."""
        return self._render_with_blanks(f"{kind}/body.txt", values, blanks, finish=tidy)

    def html(self, kind: str, values: Mapping[str, object], blanks: Blanks) -> TextTemplate:
        """Return the HTML with `blanks`, and with its style sheet inlined."""
        return self._render_with_blanks(f"{kind}/body.html", values, blanks, finish=self._inline_styles)

    def _inline_styles(self, html: str) -> str:
        try:
            return self._inliner.inline(html)
        except css_inline.InlineError as error:
            raise Problem(
                f"{self._folder / 'layout.html'}: its style sheet cannot be read: {error}"
            ) from None

    def _render_with_blanks(
        self,
        name: str,
        values: Mapping[str, object],
        blanks: Blanks,
        *,
        finish: Callable[[str], str],
    ) -> TextTemplate:
        # The stem is a hash of all values, so no value can contain it.
        stem = f"blank-{sha256(repr(sorted(values.items())).encode()).hexdigest()[:32]}"
        marks = {word: f"{before}{stem}-{blank}-{after}" for word, (before, blank, after) in blanks.items()}
        own = {
            word: value.with_blanks(marks) for word, value in values.items() if isinstance(value, WithBlanks)
        }
        text = finish(self._render(name, {**values, **own, **marks}))
        pieces = re.split(f"{stem}-({'|'.join({blank for _, blank, _ in blanks.values()})})-", text)
        if any(stem[:12] in literal.lower() for literal in pieces[::2]):
            raise Problem(
                f"{self._folder / name}: {', '.join(blanks)} differ for each member and are filled in last, so no "
                "filter can be used on them; remove the filter"
            )
        return TextTemplate(pieces)

    def _render(self, name: str, values: Mapping[str, object]) -> str:
        with self._locate_errors(name, known=values):
            return self._environment.get_template(name).render(values)

    @contextmanager
    def _locate_errors(self, name: str, *, known: Iterable[str] = ()) -> Iterator[None]:
        """Raise Problem, with file and line, for any error in the template `name`; `known` are its variables."""
        try:
            yield
        except TemplateNotFound as error:
            raise Problem(f"{self._folder / str(error.name)}: this template is missing") from None
        except TemplateSyntaxError as error:
            raise Problem(
                f"{error.filename or self._folder / name}, line {error.lineno}: {error.message}"
            ) from None
        except UndefinedError as error:
            names = ", ".join(sorted(known))
            raise Problem(
                f"{self._place(error, name)}: {error.message}; this template may use {names}"
            ) from None
        # People edit templates, and an expression in one can fail in any of these ways.
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise Problem(f"{self._place(error, name)}: {error}") from None

    def _place(self, error: Exception, name: str) -> str:
        """Return file and line of the innermost template that raised `error`."""
        place, trace = f"{self._folder / name}", error.__traceback__
        while isinstance(trace, TracebackType):
            file = trace.tb_frame.f_code.co_filename
            if Path(file).is_relative_to(self._folder):
                place = f"{file}, line {trace.tb_lineno}"
            trace = trace.tb_next
        return place
