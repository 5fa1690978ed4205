"""Translate the words of templates: `{% trans %}` and `_()` in the language that the template's variable names."""

from typing import Any

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from scheduler.domain.translation import Translator, direction, is_english, translator

_ISOLATED = Markup("\N{FIRST STRONG ISOLATE}%s\N{POP DIRECTIONAL ISOLATE}")


def install_translations(environment: Environment) -> None:
    """Let the templates of an environment use `{% trans %}`, `_()` and `pgettext()`.

    They are in the language of the variable `language`, or in English without it. A template that is imported sees the
    variable only if it is imported `with context`. In HTML the filter `isolated` keeps a name of another direction from
    changing the order of the words around it.
    """
    environment.add_extension("jinja2.ext.i18n")
    environment.policies["ext.i18n.trimmed"] = True
    environment.filters["isolated"] = lambda text: _ISOLATED % text
    install: Any = environment.install_gettext_callables  # type: ignore[attr-defined] # the extension adds it
    install(_gettext, _ngettext, newstyle=True, pgettext=_pgettext, npgettext=_npgettext)


def words_lang(written: str, language: str) -> Markup:
    """Return the attributes of what convenors wrote in the language `written`; none if the text around it, in
    `language`, is in it too."""
    if written == language or (is_english(written) and is_english(language)):
        return Markup("")
    return Markup(' lang="%s" dir="%s"') % (written, direction(written))


def _translator(context: Context) -> Translator:
    return translator(context.get("language", "en"))


@pass_context
def _gettext(context: Context, message: str) -> str:
    return _translator(context).gettext(message)


@pass_context
def _ngettext(context: Context, singular: str, plural: str, n: int) -> str:
    return _translator(context).ngettext(singular, plural, n)


@pass_context
def _pgettext(context: Context, meaning: str, message: str) -> str:
    return _translator(context).pgettext(meaning, message)


@pass_context
def _npgettext(context: Context, meaning: str, singular: str, plural: str, n: int) -> str:
    return _translator(context).npgettext(meaning, singular, plural, n)
