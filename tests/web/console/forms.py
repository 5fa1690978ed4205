"""The forms of a page, as a browser would send them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx


@dataclass
class Form:
    """A form: where it goes to, its fields as they were filled in, and its buttons by name and value."""

    path: str
    values: dict[str, str] = field(default_factory=dict)
    buttons: set[tuple[str, str]] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.forms = path, list[Form]()
        self._form: Form | None = None
        self._select, self._area = "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        name, value = named.get("name") or "", named.get("value") or ""
        if tag == "form" and named.get("method") == "post":
            self._form = Form(named.get("action") or self.path)
            self.forms.append(self._form)
        if not self._form:
            return
        if tag == "button" and name:
            self._form.buttons.add((name, value))
        elif (
            tag == "input" and name and (named.get("type") not in ("checkbox", "radio") or "checked" in named)
        ):
            self._form.values[name] = value
        elif tag == "select":
            self._select = name
        elif (
            tag == "option"
            and self._select
            and ("selected" in named or self._select not in self._form.values)
        ):
            self._form.values[self._select] = value
        elif tag == "textarea":
            self._area = name
            self._form.values[name] = ""

    def handle_data(self, data: str) -> None:
        if self._form and self._area:
            self._form.values[self._area] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._area = ""


def forms(page: str, path: str) -> list[Form]:
    """Return the forms of the page at a path that change something, apart from signing out."""
    reader = _Reader(path)
    reader.feed(page)
    return [form for form in reader.forms if form.path != "/convenor/sign-out"]


async def form_with(browser: httpx.AsyncClient, path: str, act: str = "") -> Form:
    """The form of the page at a path that has a button `act`; any form without one."""
    page = await browser.get(path)
    assert page.status_code == 200, path
    found = [form for form in forms(page.text, path) if not act or ("act", act) in form.buttons]
    assert found, (path, act)
    return found[0]


async def send_form(browser: httpx.AsyncClient, path: str, act: str = "", **values: str) -> httpx.Response:
    """Open the page at a path, fill in its form, and press the button `act`."""
    form = await form_with(browser, path, act)
    return await browser.post(form.path, data={**form.values, **values, **({"act": act} if act else {})})
