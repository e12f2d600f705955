"""The pages of invitations: made by a manager, opened by somebody new and by somebody known."""

from __future__ import annotations

from typing import Any

from httpx import Response
from sqlalchemy import select

from app.database import transaction
from app.people.models import Membership
from tests.pages.conftest import PASSWORD, Browser, Cast, soup

FORM = {"role": "annotator", "email": "", "uses": "1", "days": "7"}


def link_in(answer: Response) -> str:
    """The link that a page shows, as a path."""
    code = soup(answer).find("code", id="link")
    assert code is not None, answer.text
    return str(code.string).removeprefix("http://testserver")


def invited(cast: Cast, **more: str) -> str:
    return link_in(cast.owner.submit(f"{cast.p}/invitations", FORM | more))


def test_somebody_new_comes_in_by_the_link(cast: Cast, app: Any) -> None:
    link = invited(cast, role="reviewer")
    new = Browser(app)
    arrived = new.get(link)
    assert (arrived.status_code, arrived.headers["Location"]) == (303, "/invitation")
    cookie = arrived.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    page = soup(new.get("/invitation"))
    assert "You are invited" in page.h1
    assert "Replies <b>of the harbour</b>" in page.text
    data = {"name": "New", "email": "new@example.com", "password": PASSWORD}
    came = new.post("/invitation", data=data)
    assert came.headers["Location"] == f"{cast.p}?done=joined"
    assert new.get(cast.p).status_code == 200
    listed = soup(cast.owner.get(f"{cast.p}/people"))
    row = listed.find(string="used up").find_parent("tr")
    assert "New" in row.text


def test_the_link_is_shown_this_once(cast: Cast) -> None:
    link = invited(cast)
    assert link.split("=")[1] not in cast.owner.get(f"{cast.p}/people").text


def test_who_is_signed_in_joins_by_one_button(cast: Cast) -> None:
    link = invited(cast)
    cast.stranger.get(link)
    page = soup(cast.stranger.get("/invitation"))
    button = page.find("button", string="Join as Stranger")
    assert button is not None
    form = button.find_parent("form")
    token = form.find("input", attrs={"name": "csrf_token"})["value"]
    answer = cast.stranger.post("/invitation/join", data={"csrf_token": token})
    assert answer.headers["Location"] == f"{cast.p}?done=joined"
    assert "Welcome. You are in." in cast.stranger.get(answer.headers["Location"]).text


def test_who_has_an_account_signs_in_and_comes_back(cast: Cast, app: Any) -> None:
    link = invited(cast)
    browser = Browser(app)
    browser.get(link)
    way = soup(browser.get("/invitation")).find("a", string="I have an account here")["href"]
    assert way == "/sign-in?next=/invitation"
    data = {"email": "stranger@example.com", "password": PASSWORD, "next": "/invitation"}
    assert browser.post("/sign-in", data=data).headers["Location"] == "/invitation"
    assert "Join as Stranger" in browser.get("/invitation").text


def test_a_dead_link_says_so_and_offers_no_form(cast: Cast, app: Any) -> None:
    browser = Browser(app)
    for link in ("/invitation?link=never-was", "/invitation"):
        browser.get(link)
        page = browser.get("/invitation")
        assert page.status_code == 410
        assert "opens nothing" in soup(page).h1.text
        assert soup(page).find("form") is None


def test_a_revoked_link_is_dead(cast: Cast, app: Any) -> None:
    link = invited(cast)
    form = soup(cast.owner.get(f"{cast.p}/people")).find("button", string="Revoke it")
    answer = cast.owner.submit(form.find_parent("form")["action"])
    assert answer.headers["Location"] == f"{cast.p}/people?done=invitation-revoked"
    browser = Browser(app)
    browser.get(link)
    assert browser.get("/invitation").status_code == 410


def test_a_form_of_another_site_makes_no_account(cast: Cast, app: Any) -> None:
    browser = Browser(app)
    browser.get(invited(cast))
    data = {"name": "New", "email": "new@example.com", "password": PASSWORD}
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert browser.post("/invitation", data=data, headers=headers).status_code == 403


def test_what_is_wrong_is_said_beside_its_field(cast: Cast, app: Any) -> None:
    browser = Browser(app)
    browser.get(invited(cast))
    data = {"name": "New", "email": "new@example.com", "password": "short"}
    page = soup(browser.post("/invitation", data=data))
    assert "8 to" in page.find(id="password-problem").text
    assert page.find("input", id="email")["value"] == "new@example.com"


def test_a_project_admin_is_offered_no_more_than_their_own_role(cast: Cast) -> None:
    with transaction() as session:
        member = session.get_one(Membership, (cast.project_id, cast.people["annotator"]))
        member.role = "admin"
    page = soup(cast.annotator.get(f"{cast.p}/people"))
    offered = [one["value"] for one in page.select("#invited-role option")]
    assert offered == ["annotator", "reviewer", "admin"]
    refused = cast.annotator.submit(f"{cast.p}/invitations", FORM | {"role": "owner"})
    assert refused.status_code == 403
    assert "not yours to give" in refused.text


def test_an_admin_invites_into_the_site(cast: Cast, app: Any) -> None:
    link = link_in(cast.admin.submit("/people/invitations", FORM | {"role": "member"}))
    browser = Browser(app)
    browser.get(link)
    assert "invites you to this site" in browser.get("/invitation").text
    data = {"name": "New", "email": "new@example.com", "password": PASSWORD}
    assert browser.post("/invitation", data=data).headers["Location"] == "/projects?done=joined"


def test_an_owner_hands_the_project_over_and_stays_as_admin(cast: Cast) -> None:
    annotator = cast.people["annotator"]
    page = soup(cast.owner.get(f"{cast.p}/people"))
    form = page.find("button", string="Make Annotator owner").find_parent("form")
    assert form["action"] == f"{cast.p}/people/{annotator}/owner"
    cast.owner.submit(form["action"])
    with transaction() as session:
        rows = session.execute(
            select(Membership.person_id, Membership.role).where(
                Membership.project_id == cast.project_id
            )
        ).all()
    assert dict(rows) == {annotator: "owner", cast.people["owner"]: "admin"}
    assert cast.owner.submit(form["action"]).status_code == 403
    assert "Make " not in soup(cast.owner.get(f"{cast.p}/people")).find("tbody").text
