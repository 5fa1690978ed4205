"""The front page tells where members are, in numbers that do not follow each change."""

from datetime import timedelta

import httpx

from tests.installation import Installation


async def join(installation: Installation, country: str, *names: str) -> None:
    await installation.join(*((name, "Europe/London") for name in names), country=country)


async def test_the_front_page_lists_countries_beside_a_map_and_counts_once_a_day(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await join(installation, "JP", "Aiko", "Emi", "Jun")
    page = (await visitor.get("/")).text
    assert "<span>Japan</span>" in page and "a few" in page and "Where we are" in page
    address = page.partition('<img src="/map.svg')[2].partition('"')[0]
    first = await visitor.get(f"/map.svg{address}")
    assert (
        first.headers["Content-Type"] == "image/svg+xml"
        and "sandbox" in first.headers["Content-Security-Policy"]
    )
    again = await visitor.get(f"/map.svg{address}", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304

    await join(installation, "PT", "Rui", "Eva", "Zé")
    assert "<span>Portugal</span>" not in (await visitor.get("/")).text, (
        "somebody could see who has just joined"
    )
    installation.clock.pass_(timedelta(days=1))
    await visitor.get("/")  # counts again in the background
    await visitor._transport.app.state.countries.settle()  # type: ignore[attr-defined]
    assert "<span>Portugal</span>" in (await visitor.get("/")).text


async def test_a_community_that_is_too_small_shows_no_countries(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await installation.change("Ann", country="JP")
    assert "Where we are" not in (await visitor.get("/")).text
    assert (await visitor.get("/map.svg")).status_code == 200
