"""The templates of mails: rendered once for many members, whose own values are left open and filled in later."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType

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

from scheduler.domain.errors import Problem

_LINE_ENDS = re.compile(r"\s*\n\s*")
_SURPLUS_SPACE = re.compile(r"[ \t]+$", re.MULTILINE)
_SURPLUS_LINES = re.compile(r"\n{3,}")


Blanks = Mapping[str, tuple[str, str, str]]
"""By the words of the templates: what stands before each blank, what the blank is called, and what follows it."""


class TextTemplate:
    """A text with blanks in it."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = tuple(pieces)
        """What is printed, and in every second place the name of a blank."""

    @property
    def printed(self) -> str:
        """What stands in it before anything is filled in."""
        return "".join(self.pieces[::2])


def tidy(text: str) -> str:
    """`text` without the surplus blank lines that conditions leave, and with one line end at its end."""
    return _SURPLUS_LINES.sub("\n\n", _SURPLUS_SPACE.sub("", text)).strip("\n") + "\n"


class Templates:
    """The folder `templates/email`: for each kind of mail `subject.txt`, `body.txt` and `body.html`.

    A file that is edited while the service runs holds for the next cohort. Everything here raises Problem, naming
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
        # Whatever a template links to stays unread: no mail waits for somebody else's server.
        self._inliner = css_inline.CSSInliner(load_remote_stylesheets=False)

    def load(self) -> list[Problem]:
        """Read all that there are, which the first mail of each kind would wait for; return what is wrong with any."""
        wrong = []
        for name in self._environment.list_templates(extensions=("txt", "html")):
            try:
                with self._placed(name):
                    self._environment.get_template(name)
            except Problem as problem:
                wrong.append(problem)
        return wrong

    def subject(self, kind: str, values: Mapping[str, object]) -> str:
        """Return the subject, one line."""
        return _LINE_ENDS.sub(" ", self._render(f"{kind}/subject.txt", values).strip())

    def text(self, kind: str, values: Mapping[str, object], blanks: Blanks) -> TextTemplate:
        """Return the text with `blanks` left open; surplus blank lines, as conditions leave them, are gone."""
        return self._form(f"{kind}/body.txt", values, blanks, finish=tidy)

    def html(self, kind: str, values: Mapping[str, object], blanks: Blanks) -> TextTemplate:
        """Return the HTML with `blanks` left open, its style sheet written into the elements."""
        return self._form(f"{kind}/body.html", values, blanks, finish=self._inlined)

    def _inlined(self, html: str) -> str:
        try:
            return self._inliner.inline(html)
        except css_inline.InlineError as error:
            raise Problem(
                f"{self._folder / 'layout.html'}: its style sheet cannot be read: {error}"
            ) from None

    def _form(
        self,
        name: str,
        values: Mapping[str, object],
        blanks: Blanks,
        *,
        finish: Callable[[str], str],
    ) -> TextTemplate:
        # No value can contain the stem, which hangs on them all.
        stem = f"blank-{sha256(repr(sorted(values.items())).encode()).hexdigest()[:32]}"
        marks = {word: f"{before}{stem}-{blank}-{after}" for word, (before, blank, after) in blanks.items()}
        text = finish(self._render(name, {**values, **marks}))
        pieces = re.split(f"{stem}-({'|'.join({blank for _, blank, _ in blanks.values()})})-", text)
        if any(stem[:12] in literal.lower() for literal in pieces[::2]):
            raise Problem(
                f"{self._folder / name}: {', '.join(blanks)} are each member's own and are filled in last; "
                "no filter can be used on them"
            )
        return TextTemplate(pieces)

    def _render(self, name: str, values: Mapping[str, object]) -> str:
        with self._placed(name, known=values):
            return self._environment.get_template(name).render(values)

    @contextmanager
    def _placed(self, name: str, *, known: Iterable[str] = ()) -> Iterator[None]:
        """Raises Problem, with its place, for whatever goes wrong within with the template `name`."""
        try:
            yield
        except TemplateNotFound as error:
            raise Problem(f"{self._folder / str(error.name)}: this template is missing") from None
        except TemplateSyntaxError as error:
            raise Problem(
                f"{error.filename or self._folder / name}, line {error.lineno}: {error.message}"
            ) from None
        except UndefinedError as error:
            words = ", ".join(sorted(known))
            raise Problem(f"{self._place(error, name)}: {error.message}; known here are {words}") from None
        # A template is somebody's text, and can go wrong in any of these ways.
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise Problem(f"{self._place(error, name)}: {error}") from None

    def _place(self, error: Exception, name: str) -> str:
        """File and line of the innermost template that `error` passed through."""
        place, trace = f"{self._folder / name}", error.__traceback__
        while isinstance(trace, TracebackType):
            file = trace.tb_frame.f_code.co_filename
            if Path(file).is_relative_to(self._folder):
                place = f"{file}, line {trace.tb_lineno}"
            trace = trace.tb_next
        return place
