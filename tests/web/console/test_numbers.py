"""The page of numbers: bars with the same in words and in tables, for helpers too, counted in the background."""

import asyncio
from datetime import timedelta

import pytest
from starlette.applications import Starlette

from scheduler.service.numbers import count_numbers
from scheduler.web.console import numbers
from tests.installation import Installation
from tests.web.conftest import settle
from tests.web.console.conftest import SignIn

KEY = "conversation-for-kindness/2026-11-19"


async def test_a_helper_sees_bars_with_the_same_numbers_in_words_and_in_tables(
    app: Starlette, installation: Installation, sign_in: SignIn
) -> None:
    await installation.change("Cy", country="US")
    bo = await sign_in("Bo", "helper")
    await installation.live(installation.clock.now().replace(day=7))
    await installation.answer("Cy", KEY, "declined")
    await bo.get("/convenor/numbers")
    await settle(app)
    page = (await bo.get("/convenor/numbers")).text
    assert "3 members on the list" in page
    assert '<span>United Kingdom</span> <span class="words">2</span>' in page
    assert 'width="50.0"' in page, "half as many as the longest bar"
    assert "1 declined, 2 no answer" in page
    assert ">3 joined<" in page
    assert "December 2026" not in page and "style=" not in page


async def test_the_page_does_not_wait_for_numbers_that_take_long(
    app: Starlette, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await sign_in("Ann")
    counting, count = asyncio.Event(), count_numbers

    async def count_slowly(*args: object, **values: object) -> object:
        await counting.wait()
        return await count(*args, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(numbers, "count_numbers", count_slowly)
    monkeypatch.setattr(numbers, "_PATIENCE", timedelta())
    assert "The numbers are being counted" in (await ann.get("/convenor/numbers")).text
    counting.set()
    await settle(app)
    assert "Members by country" in (await ann.get("/convenor/numbers")).text
