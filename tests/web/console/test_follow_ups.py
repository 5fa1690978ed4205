"""After a meeting, a convenor adds the recording, and one button with a number sends the follow-up once."""

from datetime import UTC, datetime

from tests.installation import Installation
from tests.web.console.conftest import SignIn
from tests.web.console.test_meetings import KEY, PATH, form


async def test_materials_are_added_and_the_follow_up_sent_with_one_button(
    installation: Installation, sign_in: SignIn
) -> None:
    assert (await (await sign_in("Bo", "helper")).get(f"{PATH}/follow-up")).status_code == 403
    installation.clock.pass_until(datetime(2026, 11, 19, 18, 30, tzinfo=UTC))
    await installation.tick()
    ann = await sign_in("Ann")
    assert "is not over yet" in (await ann.get(f"{PATH}/follow-up")).text
    installation.clock.pass_until(datetime(2026, 11, 20, 9, tzinfo=UTC))
    await installation.tick()
    assert "Send the recording" not in (await ann.get(PATH)).text
    material = {"material-1-title": "<b>", "material-1-link": "https://www.example.org/recording"}
    await ann.post(PATH, data=await form(installation, **material, act="save"))
    assert f'href="{PATH}/follow-up">Send the recording and notes' in (await ann.get(PATH)).text
    page = (await ann.get(f"{PATH}/follow-up")).text
    assert (
        "Send the follow-up to 3 members" in page and "&lt;b&gt;: https://www.example.org/recording" in page
    )
    assert f'src="{PATH}/follow-up/mail?for=1" sandbox' in page
    frame = (await ann.get(f"{PATH}/follow-up/mail?for=2")).text
    assert "Dear \u2068Bo\u2069," in frame and "https://www.example.org/recording" in frame
    wrong = await ann.post(f"{PATH}/follow-up", data={"number": "2"})
    assert wrong.status_code == 422 and "it would now go to 3 members, not to 2" in wrong.text
    sent = await ann.post(f"{PATH}/follow-up", data={"number": "3"})
    assert "Cancel sending" in (await ann.get(sent.headers["location"])).text
    again = await ann.post(f"{PATH}/follow-up", data={"number": "3"})
    assert again.status_code == 422 and "See what became of it" in again.text
    await installation.live(datetime(2026, 11, 20, 10, tzinfo=UTC))
    assert len(await installation.reports(kind="follow-up", state="sent")) == 3
    assert f'href="{sent.headers["location"]}">see what became of it' in (await ann.get(PATH)).text
    assert "Sent the recording and notes of a meeting" in (await ann.get("/convenor/audit")).text
    assert (await ann.get(f"/convenor/meetings/{KEY[:-1]}8/follow-up")).status_code == 404
