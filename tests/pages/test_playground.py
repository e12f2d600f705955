"""The playground's page and calls: asked, watched, cancelled, kept."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import select

from app.database import transaction
from app.models import Pair, Run, Trial
from app.playground import actions
from tests.pages.conftest import Cast, soup


def sent(policy: uuid.UUID, **more: str) -> dict[str, str]:
    values = {"prompt": "Why <b>so</b>?", "a": str(policy), "b": str(policy)}
    return {**values, "temperature": "0.5", "max_new_tokens": "20", **more}


def asked(cast: Cast, policy: uuid.UUID) -> tuple[str, uuid.UUID]:
    answer = cast.owner.submit(f"{cast.p}/playground", sent(policy))
    assert answer.status_code == 303, answer.text
    place = str(answer.headers["Location"])
    return place, uuid.UUID(place.partition("trial=")[2])


def answer(trial_id: uuid.UUID, a: str = "because <i>", b: str = "why not") -> None:
    with transaction() as session:
        run = session.scalars(select(Run).where(Run.trial_id == trial_id)).one()
        actions.answered(session, run, {"a": (a, True), "b": (b, False)})


def test_it_is_asked_watched_and_kept(cast: Cast, policy_id: uuid.UUID) -> None:
    assert soup(cast.owner.get(f"{cast.p}/policies")).find(href=f"{cast.p}/playground")
    page = soup(cast.owner.get(f"{cast.p}/playground"))
    assert [option.text for option in page.select("#a option")] == [
        "Policy 1",
        "π₀, the base model",
    ]
    place, trial_id = asked(cast, policy_id)
    waiting = soup(cast.owner.get(place))
    assert waiting.find(id="answers")["hx-get"] == f"/trials/{trial_id}/now"
    assert waiting.find(id="prompt").text.strip() == "Why <b>so</b>?"
    assert cast.owner.get(f"/trials/{trial_id}/now").status_code == 204
    answer(trial_id)
    live = cast.owner.get(f"/trials/{trial_id}/now")
    assert "because &lt;i&gt;" in live.text
    assert "hx-get" not in live.text
    assert "Cut off at the longest length" in live.text
    assert cast.owner.submit(f"/trials/{trial_id}/keep").headers["Location"] == place
    assert "the next round asks about this pair" in cast.owner.get(place).text
    with transaction() as session:
        kept = session.scalars(select(Pair).where(Pair.wanted)).one()
        assert {kept.completion_a, kept.completion_b} == {"because <i>", "why not"}


def test_a_trial_is_cancelled_on_its_page(cast: Cast, policy_id: uuid.UUID) -> None:
    place, trial_id = asked(cast, policy_id)
    assert cast.owner.submit(f"/trials/{trial_id}/cancel").status_code == 303
    assert "Cancelled." in cast.owner.get(place).text
    assert cast.owner.submit(f"/trials/{trial_id}/keep").status_code == 409
    assert cast.annotator.get(place).status_code == 403
    assert cast.stranger.get(f"/trials/{trial_id}/now").status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [("prompt", " "), ("a", "none"), ("temperature", "hot"), ("max_new_tokens", "0")],
)
def test_a_wrong_field_is_marked(cast: Cast, policy_id: uuid.UUID, field: str, value: str) -> None:
    answer = cast.owner.submit(f"{cast.p}/playground", sent(policy_id, **{field: value}))
    assert answer.status_code == 422
    assert soup(answer).find(id=f"{field}-problem") is not None
    with transaction() as session:
        assert session.scalars(select(Trial)).all() == []


def test_a_trial_that_is_forgotten_is_said_to_be(cast: Cast) -> None:
    page = cast.owner.get(f"{cast.p}/playground?trial={uuid.uuid4()}")
    assert "forgotten by now" in page.text


def test_too_many_at_once_are_refused(cast: Cast, policy_id: uuid.UUID) -> None:
    for _ in range(actions.MOST_WAITING):
        asked(cast, policy_id)
    refused = cast.owner.submit(f"{cast.p}/playground", sent(policy_id))
    assert refused.status_code == 429
    assert "let one end first" in refused.text


def test_over_http(cast: Cast, policy_id: uuid.UUID) -> None:
    token = {"X-CSRF-Token": cast.owner.token}
    body = {"prompt": [{"role": "user", "content": "Hi"}], "a": str(policy_id), "b": str(policy_id)}
    place = f"/api/v1{cast.p}/trials"
    made = cast.owner.post(place, json=body, headers=token)
    assert (made.status_code, made.json()["state"]) == (202, "waiting")
    trial = f"/api/v1/trials/{made.json()['id']}"
    answer(uuid.UUID(made.json()["id"]))
    view = cast.owner.get(trial).json()
    assert (view["state"], view["a"]["completion"], view["b"]["finished"]) == (
        "done",
        "because <i>",
        False,
    )
    kept = cast.owner.post(f"{trial}/keep", headers=token).json()
    assert kept["pair"] == cast.owner.post(f"{trial}/keep", headers=token).json()["pair"]
    assert cast.owner.post(f"{trial}/cancel", headers=token).status_code == 409
    wrong = cast.owner.post(place, json={**body, "temperature": -1}, headers=token)
    assert wrong.status_code == 422
