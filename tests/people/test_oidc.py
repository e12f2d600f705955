"""Signing in through an identity provider: every case against a real one, in its own process."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pyotp
import pytest
from sqlalchemy import select

from app.database import transaction
from app.people import actions, invitations, oidc, oidc_pages, oidc_provider, second_factor
from app.people.access import COOKIE
from app.people.models import Identity, Person, SignIn
from app.rounds.models import Event
from tests.pages.conftest import PASSWORD, Browser, soup
from tests.people.conftest import SECRET, Provider, begun, come_back, sign_in

Site = Callable[..., Any]


def person(email: str = "ann@example.com") -> Person:
    with transaction() as s:
        return s.scalars(select(Person).where(Person.email == email)).one()


def added(email: str = "ann@example.com", role: str = "member") -> Person:
    with transaction() as s:
        return actions.add_person(s, email, "Ann", role, PASSWORD)


def let_in(answer: Any) -> bool:
    return answer.status_code == 303 and COOKIE in answer.headers.get("Set-Cookie", "")


def said(answer: Any) -> str:
    return str(soup(answer).find(attrs={"role": "alert"}).string)


def test_the_door_has_a_button_where_there_is_a_provider(site: Site) -> None:
    page = Browser(site()).get("/sign-in", params={"next": "/keys?a=b&c"})
    link = soup(page).find("a", string="Sign in with Example")
    assert link["href"] == "/sign-in/oidc?next=/keys%3Fa%3Db%26c"
    assert soup(page).find("input", attrs={"name": "password"}) is not None


def test_no_provider_no_button_and_no_address(configure: Site) -> None:
    browser = Browser(configure())
    assert "/sign-in/oidc" not in browser.get("/sign-in").text
    assert browser.get("/sign-in/oidc").status_code == 404
    assert browser.get("/sign-in/oidc/callback").status_code == 404


def test_a_provider_that_keeps_everybody_waiting_keeps_nobody_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = site()
    answered = threading.Event()
    monkeypatch.setattr(oidc, "finish", lambda *_: answered.wait(30) and oidc._begun("", ""))

    async def visits() -> tuple[int, list[int]]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://testserver", timeout=30
        ) as browser:
            path = "/sign-in/oidc/callback?code=a&state=b"
            come_back = [asyncio.create_task(browser.get(path)) for _ in range(60)]
            await asyncio.sleep(0.5)
            form = {"email": "nobody@example.com", "password": PASSWORD}
            async with asyncio.timeout(10):
                other = await browser.post("/sign-in", data=form)
            answered.set()
            return other.status_code, [one.status_code for one in await asyncio.gather(*come_back)]

    other, back = asyncio.run(visits())
    assert other == 401
    assert set(back) <= {400, 401, 403, 429}, back


def test_who_the_provider_vouches_for_is_signed_in(site: Site, provider: Provider) -> None:
    provider.breaks(secret="the+client%27s+secret%2C+with+%3A+and+%25")
    browser = Browser(site())
    address = begun(browser, "/keys")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert asked["response_type"] == "code"
    assert asked["redirect_uri"] == "http://testserver/sign-in/oidc/callback"
    assert asked["scope"] == "openid email profile"
    assert asked["code_challenge_method"] == "S256"
    assert len({asked[name] for name in ("state", "nonce", "code_challenge")}) == 3
    back = come_back(browser, provider.lets_in(address, "ann"))
    assert let_in(back), back.text
    assert back.headers["Location"] == "/keys"
    assert "HttpOnly" in back.headers["Set-Cookie"]
    assert browser.get("/keys").status_code == 200
    ann = person()
    assert (ann.name, ann.role, ann.password_hash) == ("Ann", "member", None)
    with transaction() as s:
        identity = s.scalars(select(Identity)).one()
        kinds = s.scalars(select(Event.kind).order_by(Event.id)).all()
    assert (identity.issuer, identity.subject) == (provider.issuer, "ann")
    assert "identity.tied" in kinds


def test_the_address_of_the_site_may_be_said(site: Site) -> None:
    browser = Browser(site(public_url="https://labels.example.com/"))
    answer = browser.get("/sign-in/oidc")
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert asked["redirect_uri"] == ["https://labels.example.com/sign-in/oidc/callback"]
    assert "Secure" in answer.headers["Set-Cookie"]


def test_the_session_that_was_there_ends(site: Site, provider: Provider) -> None:
    browser = Browser(site())
    assert let_in(sign_in(browser, provider))
    first = browser.cookies[COOKIE]
    assert let_in(sign_in(browser, provider))
    assert browser.cookies[COOKIE] != first
    with transaction() as s:
        assert len(s.scalars(select(SignIn)).all()) == 1


def test_discovery_is_asked_for_once(site: Site, provider: Provider) -> None:
    path = oidc_provider.DISCOVERY
    browser, before = Browser(site()), provider.calls(path)
    for _ in range(3):
        assert let_in(sign_in(browser, provider))
    assert provider.calls(path) == before + 1


def test_the_state_must_be_that_of_this_browser(site: Site, provider: Provider) -> None:
    app = site()
    victim, thief = Browser(app), Browser(app)
    stolen = provider.lets_in(begun(thief), "ann")
    answer = come_back(victim, stolen)  # never began
    assert (answer.status_code, let_in(answer)) == (401, False)
    begun(victim)
    answer = come_back(victim, stolen)  # began, but not this
    assert (answer.status_code, let_in(answer)) == (401, False)
    assert "not begun in this browser" in said(answer)
    forged = Browser(app)
    begun(forged)
    assert come_back(forged, "http://testserver/sign-in/oidc/callback?code=x").status_code == 401


def test_a_callback_works_once_and_for_ten_minutes(
    site: Site, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(site())
    back = provider.lets_in(begun(browser), "ann")
    assert let_in(come_back(browser, back))
    assert come_back(browser, back).status_code == 401
    back = provider.lets_in(begun(browser), "ann")
    monkeypatch.setattr(oidc, "BEGUN_SECONDS", -1)
    assert come_back(browser, back).status_code == 401


def test_a_code_without_its_verifier_is_worth_nothing(site: Site, provider: Provider) -> None:
    app = site()
    one, other = Browser(app), Browser(app)
    stolen = parse_qs(urlsplit(provider.lets_in(begun(one), "ann")).query)["code"][0]
    state = parse_qs(urlsplit(begun(other)).query)["state"][0]
    query = urlencode({"code": stolen, "state": state})
    answer = other.get(f"/sign-in/oidc/callback?{query}")
    assert (answer.status_code, let_in(answer)) == (401, False)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another client"},
        {"aud": ["activedpo", "another client"]},
        {"aud": ["activedpo", "another client"], "azp": "another client"},
        {"aud": None},
        {"iss": "http://127.0.0.1:1"},
        {"iss": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"exp": "never"},
        {"nbf": 4_000_000_000},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\x00b"},
        {"sub": "x" * 300},
    ],
    ids=json.dumps,
)
def test_a_token_of_another_or_of_another_time_is_refused(
    site: Site, provider: Provider, claims: dict[str, Any]
) -> None:
    browser = Browser(site())
    provider.breaks(claims=claims)
    answer = sign_in(browser, provider)
    assert (answer.status_code, let_in(answer)) == (401, False)
    assert "does not prove who you are" in said(answer)
    with transaction() as s:
        assert s.scalars(select(Person)).all() == []
    provider.breaks()
    assert let_in(sign_in(browser, provider))


@pytest.mark.parametrize("sign", ["stranger", "none", "shared"])
def test_a_token_that_the_provider_did_not_sign_is_refused(
    site: Site, provider: Provider, sign: str
) -> None:
    browser = Browser(site())
    ways = ["RS256", "HS256", "none"]  # even where discovery offers them
    provider.breaks(sign=sign, metadata={"id_token_signing_alg_values_supported": ways})
    answer = sign_in(browser, provider)
    assert (answer.status_code, let_in(answer)) == (401, False)


def test_a_changed_key_is_asked_for(site: Site, provider: Provider) -> None:
    browser = Browser(site())
    assert let_in(sign_in(browser, provider))
    before = provider.calls("/jwks")
    provider.breaks(rotate=True)
    assert let_in(sign_in(browser, provider))
    assert provider.calls("/jwks") == before + 1
    assert let_in(sign_in(browser, provider))
    assert provider.calls("/jwks") == before + 1  # and kept


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["labellers"], "member"),
        (["labellers", "bosses"], "admin"),
        ("bosses", "admin"),
        (["cooks"], None),
        ([], None),
        (None, None),
        ({"bosses": True}, None),
        ([["bosses"], 7], None),
    ],
)
def test_groups_give_the_role_or_none(
    site: Site, provider: Provider, groups: Any, role: str | None
) -> None:
    more = {} if groups is None else {"groups": groups}
    provider.knows("ann", email="ann@example.com", email_verified=True, **more)
    answer = sign_in(Browser(site()), provider)
    assert let_in(answer) == (role is not None)
    if role is None:
        assert answer.status_code == 403
        assert "none of your groups" in said(answer)
    with transaction() as s:
        assert s.scalars(select(Person.role)).all() == ([role] if role else [])


def test_roles_are_taken_anew_at_each_sign_in(site: Site, provider: Provider) -> None:
    browser, claims = Browser(site()), {"email": "ann@example.com", "email_verified": True}
    added("root@example.com", "admin")
    for groups, role in ((["bosses"], "admin"), (["labellers"], "member"), (["bosses"], "admin")):
        provider.knows("ann", **claims, groups=groups)
        assert let_in(sign_in(browser, provider))
        assert person().role == role
    provider.knows("ann", **claims, groups=["cooks"])
    other = Browser(site())
    assert sign_in(other, provider).status_code == 403
    assert browser.get("/projects").status_code == 303  # what they had is gone as well


def test_the_only_admin_is_not_made_a_member(site: Site, provider: Provider) -> None:
    added(role="admin")
    answer = sign_in(Browser(site()), provider)
    assert (answer.status_code, let_in(answer)) == (409, False)
    assert "only admin" in said(answer)
    assert person().role == "admin"


def test_without_a_map_roles_are_given_here(site: Site, provider: Provider) -> None:
    added(role="admin")
    assert let_in(sign_in(Browser(site(oidc_roles={})), provider))
    assert person().role == "admin"


def test_groups_may_lie_deeper_or_be_told_elsewhere(site: Site, provider: Provider) -> None:
    provider.knows("ann", realm_access={"roles": ["bosses"]})
    provider.breaks(hidden=["realm_access"])  # not in the token: userinfo is asked
    browser = Browser(site(oidc_group_claim="realm_access.roles"))
    assert let_in(sign_in(browser, provider))
    with transaction() as s:
        assert s.scalars(select(Person.role)).all() == ["admin"]


def test_a_verified_address_ties_an_account_once(site: Site, provider: Provider) -> None:
    ann = added()
    app = site(oidc_create_people="0")
    assert let_in(sign_in(Browser(app), provider))
    with transaction() as s:
        assert s.scalars(select(Identity.person_id)).all() == [ann.id]
    # from then on the subject counts, whatever the address says
    provider.knows("ann", email="other@example.com", email_verified=True, groups=["labellers"])
    assert let_in(sign_in(Browser(app), provider))
    provider.knows("eve", email="ann@example.com", email_verified=True, groups=["bosses"])
    answer = sign_in(Browser(app), provider, "eve")
    assert (answer.status_code, let_in(answer)) == (409, False)
    assert person().role == "member"


@pytest.mark.parametrize("verified", [{}, {"email_verified": False}, {"email_verified": "true"}])
def test_an_address_that_is_not_verified_says_nothing(
    site: Site, provider: Provider, verified: dict[str, Any]
) -> None:
    ann = added()
    provider.knows("eve", email="ann@example.com", groups=["labellers"], **verified)
    assert let_in(sign_in(Browser(site()), provider, "eve"))
    with transaction() as s:
        tied = s.scalars(select(Identity.person_id)).one()
        assert tied != ann.id
        assert s.get_one(Person, tied).email.endswith("@127.0.0.1.invalid")
    refused = sign_in(Browser(site(oidc_create_people="0")), provider, "mallory")
    assert refused.status_code == 403


def test_who_is_unknown_is_refused_where_nobody_is_created(site: Site, provider: Provider) -> None:
    answer = sign_in(Browser(site(oidc_create_people="0")), provider)
    assert (answer.status_code, let_in(answer)) == (403, False)
    assert "An admin can make one" in said(answer)


def test_who_is_not_active_stays_out(site: Site, provider: Provider) -> None:
    app = site()
    assert let_in(sign_in(Browser(app), provider))
    with transaction() as s:
        actions.change_person(s, s.get_one(Person, person().id), active=False)
    answer = sign_in(Browser(app), provider)
    assert (answer.status_code, let_in(answer)) == (403, False)


def test_a_second_step_set_up_here_is_asked_for_as_well(site: Site, provider: Provider) -> None:
    ann = added()
    with transaction() as s:
        secret = second_factor.begin(s, s.get_one(Person, ann.id))
        code = pyotp.TOTP(secret).at(int(time.time()) - 30)
        second_factor.confirm(s, s.get_one(Person, ann.id), code, "here")
    browser = Browser(site(password_sign_in="0"))
    asked = sign_in(browser, provider)
    assert (asked.status_code, let_in(asked)) == (200, False)
    assert browser.get("/projects").status_code == 303
    ticket = soup(asked).find("input", attrs={"name": "ticket"})["value"]
    data = {"ticket": ticket, "code": pyotp.TOTP(secret).now()}
    assert let_in(browser.post("/sign-in/code", data=data))


def test_passwords_may_be_switched_off(site: Site) -> None:
    added()
    browser = Browser(site(password_sign_in="0"))
    assert soup(browser.get("/sign-in")).find("input", attrs={"name": "password"}) is None
    assert browser.sign_in("ann@example.com").status_code == 403
    body = {"email": "ann@example.com", "password": PASSWORD}
    assert browser.post("/api/v1/sign-in", json=body).status_code == 403


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("access_denied", "did not let you through"),
        ("<script>alert(1)</script>", "The identity provider refused."),
    ],
)
def test_what_the_provider_refuses_is_told_in_our_words(site: Site, error: str, words: str) -> None:
    browser = Browser(site())
    state = parse_qs(urlsplit(begun(browser)).query)["state"][0]
    query = urlencode({"state": state, "error": error, "error_description": "hunter2"})
    answer = browser.get(f"/sign-in/oidc/callback?{query}")
    assert answer.status_code == 401
    assert words in said(answer)
    assert "hunter2" not in answer.text
    assert "<script>alert" not in answer.text


def test_answers_that_prove_nothing_are_limited(site: Site) -> None:
    browser = Browser(site())
    for _ in range(205):  # a window of the limit may end in between
        if (status := browser.get("/sign-in/oidc/callback?state=x").status_code) == 429:
            break
    assert status == 429


def test_a_provider_that_is_down_is_told_of(site: Site, provider: Provider) -> None:
    browser = Browser(site())
    back = provider.lets_in(begun(browser), "ann")
    provider.stop()
    try:
        answer = come_back(browser, back)
        assert (answer.status_code, let_in(answer)) == (503, False)
        assert "did not answer as it should" in said(answer)
        assert soup(answer).find("a", string="Sign in with Example") is not None
        oidc_provider.provider.cache_clear()
        assert browser.get("/sign-in/oidc").status_code == 503
    finally:
        provider.start_again()


@pytest.mark.parametrize("path", [oidc_provider.DISCOVERY, "/jwks", "/oauth2/token"])
@pytest.mark.parametrize("fault", ["fail", "hang", "redirect"])
def test_errors_delays_and_redirects_of_the_provider_are_told_of(
    site: Site, provider: Provider, monkeypatch: pytest.MonkeyPatch, path: str, fault: str
) -> None:
    monkeypatch.setattr(oidc_provider, "FAILED_SECONDS", 0.0)
    browser = Browser(site())
    back = provider.lets_in(begun(browser), "ann") if path == "/oauth2/token" else None
    provider.breaks(**{fault: path})
    with monkeypatch.context() as patch:
        if fault == "hang":
            patch.setattr(oidc_provider, "STEP_SECONDS", 1.0)
        if back is None:
            oidc_provider.provider.cache_clear()
        answer = come_back(browser, back) if back else browser.get("/sign-in/oidc")
    assert (answer.status_code, let_in(answer)) == (503, False)
    assert "hunter2" not in answer.text
    provider.breaks()
    assert let_in(sign_in(browser, provider))


def test_a_provider_that_failed_is_left_alone_for_a_moment(site: Site, provider: Provider) -> None:
    browser, path = Browser(site()), oidc_provider.DISCOVERY
    provider.breaks(fail=path)
    before = provider.calls(path)
    for _ in range(5):
        assert browser.get("/sign-in/oidc").status_code == 503
    assert provider.calls(path) == before + 1


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://another.example.com"},
        {"token_endpoint": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
    ids=json.dumps,
)
def test_discovery_that_cannot_be_is_not_believed(
    site: Site, provider: Provider, metadata: dict[str, Any]
) -> None:
    provider.breaks(metadata=metadata)
    assert Browser(site()).get("/sign-in/oidc").status_code == 503


def test_behind_https_nothing_goes_on_without_it() -> None:
    issuer = "https://id.example.com"
    endpoints = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    said = {"issuer": issuer} | {name: f"{issuer}/{name}" for name in endpoints}
    assert oidc_provider.understood(issuer, said).token_endpoint == f"{issuer}/token_endpoint"
    with pytest.raises(oidc_provider.ProviderError):
        oidc_provider.understood(issuer, said | {"token_endpoint": "http://id.example.com/t"})


def test_no_secret_and_no_token_is_in_the_log_or_on_a_page(
    site: Site, provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = Browser(site())
    provider.breaks(claims={"nonce": "another"})
    address = begun(browser)
    back = provider.lets_in(address, "ann")
    answer = come_back(browser, back)
    code = parse_qs(urlsplit(back).query)["code"][0]
    captured = capsys.readouterr()
    for hidden in (SECRET, code, "eyJ"):
        for shown in (captured.out, captured.err, answer.text):
            assert hidden not in shown


def test_the_cookie_of_the_way_is_sealed_and_narrow(site: Site) -> None:
    browser = Browser(site())
    answer = browser.get("/sign-in/oidc")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert f"Path={oidc_pages.PATH}" in cookie
    state = parse_qs(urlsplit(answer.headers["Location"]).query)["state"][0]
    assert state not in cookie


@pytest.mark.parametrize("onward", ["https://evil.example.com", "//evil.example.com", "/\\evil"])
def test_the_way_leads_nowhere_else(site: Site, provider: Provider, onward: str) -> None:
    browser = Browser(site())
    back = come_back(browser, provider.lets_in(begun(browser, onward), "ann"))
    assert back.headers["Location"] == "/projects"


def test_who_is_invited_gets_an_account_where_others_get_none(
    site: Site, provider: Provider
) -> None:
    app = site(oidc_create_people="0")
    assert "There is no account for you here" in said(sign_in(Browser(app), provider))
    boss = added("boss@example.com", "admin")
    with transaction() as s:
        _, token = invitations.invite(s, None, "member", s.get_one(Person, boss.id))
    browser = Browser(app)
    browser.get("/invitation", params={"link": token})
    assert soup(browser.get("/invitation")).find("a", string="Sign in with Example") is not None
    assert let_in(sign_in(browser, provider))
    assert person().name == "Ann"


def test_who_claimed_an_address_without_a_proof_loses_the_account_to_whose_it_is(
    site: Site, provider: Provider
) -> None:
    """Else whoever holds a link could wait inside for the address's owner."""
    app = site()
    boss = added("boss@example.com", "admin")
    with transaction() as s:
        _, token = invitations.invite(s, None, "member", s.get_one(Person, boss.id))
    thief = Browser(app)
    thief.get("/invitation", params={"link": token})
    data = {"name": "Thief", "email": "ann@example.com", "password": PASSWORD}
    assert let_in(thief.post("/invitation", data=data))
    with transaction() as s:
        _, key = actions.add_key(s, person(), "admin")
    assert let_in(sign_in(Browser(app), provider))
    assert thief.get("/keys").headers["Location"].startswith("/sign-in")
    assert not let_in(Browser(app).sign_in("ann@example.com"))
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
    assert Browser(app).get("/api/v1/me", headers=headers).status_code == 401
    assert person().email_proven
    again = Browser(app)
    assert let_in(sign_in(again, provider))  # from now on the address is theirs
    assert again.get("/keys").status_code == 200
