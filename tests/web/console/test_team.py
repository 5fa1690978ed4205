"""Convenors appoint, change and dismiss each other, and see who did what."""

from datetime import timedelta

from tests.installation import Installation
from tests.web.console.conftest import SignIn


async def test_a_convenor_appoints_a_helper_who_can_then_sign_in_and_is_dismissed(
    installation: Installation, sign_in: SignIn
) -> None:
    ann = await sign_in("Ann")
    wrong = await ann.post("/convenor/team/appoint", data={"email": "nobody@example.org"})
    assert wrong.status_code == 422
    assert "You need to choose a role." in wrong.text
    unknown = await ann.post("/convenor/team/appoint", data={"email": "nobody@example.org", "role": "helper"})
    assert "You need to give another address: there is no member" in unknown.text
    again = await ann.post("/convenor/team/appoint", data={"email": "ann@example.org", "role": "helper"})
    assert "is a convenor already." in again.text
    assert all("`" not in page and "convenors add" not in page for page in (unknown.text, again.text))
    done = await ann.post("/convenor/team/appoint", data={"email": "bo@example.org", "role": "helper"})
    assert done.headers["location"] == "/convenor/team?done=appointed"
    page = (await ann.get("/convenor/team?done=appointed")).text
    assert "Bo</bdi>, helper" in page and "They have been appointed." in page
    bo = await sign_in("Bo", "helper")
    await ann.post("/convenor/team/2", data={"role": "none"})
    assert (await bo.get("/convenor")).status_code == 303
    assert "Bo</bdi>, helper" not in (await ann.get("/convenor/team")).text
    assert (await ann.get("/convenor/team/2")).status_code == 404


async def test_the_last_convenor_cannot_be_dismissed_or_made_a_helper(
    installation: Installation, sign_in: SignIn
) -> None:
    ann = await sign_in("Ann")
    assert "There is only one convenor." in (await ann.get("/convenor/team")).text
    for role in ("none", "helper"):
        refused = await ann.post("/convenor/team/1", data={"role": role, "was": "convenor"})
        assert refused.status_code == 422 and "You need to appoint another convenor first" in refused.text
    assert (await ann.get("/convenor")).status_code == 200


async def test_the_log_says_who_did_what_and_can_be_narrowed(
    installation: Installation, sign_in: SignIn
) -> None:
    ann = await sign_in("Ann")
    installation.clock.pass_(timedelta(minutes=1))
    await ann.post("/convenor/team/appoint", data={"email": "bo@example.org", "role": "helper"})
    page = (await ann.get("/convenor/audit")).text
    assert page.index("Changed somebody’s role", page.index("<ol")) < page.index(
        "Signed in", page.index("<ol")
    )
    assert "Role: from “<bdi>nothing</bdi>” to “<bdi>helper</bdi>”" in page
    entries = (await ann.get("/convenor/audit?act=signed-in")).text.partition("<ol")[2]
    assert "Signed in" in entries and "role" not in entries
    assert "There is no entry." in (await ann.get("/convenor/audit?by=2")).text
    assert "There is no entry." in (await ann.get("/convenor/audit?subject=%3Cscript%3E")).text
