"""What is forgotten of people by rule, and what stays."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.database import transaction
from app.labelling.models import Preference
from app.people import actions
from app.people.access import now
from app.people.models import Person, SignIn
from app.people.sessions import _begin
from app.privacy import retention
from app.rounds.models import Event
from tests.labelling.conftest import World, make_world


@pytest.fixture
def rule(
    forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch, database: Engine
) -> Callable[..., World]:
    """Makes a world under a rule of so many days."""

    def make(days: int | None) -> World:
        if days is not None:
            monkeypatch.setenv("ACTIVEDPO_FORGET_PEOPLE_DAYS", str(days))
        forget()
        return make_world(3)

    return make


def deactivated(who: uuid.UUID, days: int) -> None:
    with transaction() as s:
        person = s.get_one(Person, who)
        actions.change_person(s, person, active=False)
        person.deactivated_at = now() - dt.timedelta(days=days)


def enforced() -> int:
    with transaction() as s:
        return retention.enforce(s)


def is_forgotten(who: uuid.UUID) -> bool:
    with transaction() as s:
        return s.get_one(Person, who).deleted_at is not None


def test_who_left_long_ago_is_forgotten_and_their_label_stays(rule: Any) -> None:
    it = rule(30)
    it.open()
    said = it.prefer("ann", it.claim("ann")[0], "left", rationale="my own words")
    deactivated(it.person("ann"), 31)
    deactivated(it.person("bob"), 29)
    it.person("eve")
    assert (enforced(), enforced()) == (1, 0)
    assert [is_forgotten(it.person(name)) for name in ("ann", "bob", "eve")] == [True, False, False]
    with transaction() as s:
        label = s.get_one(Preference, said.id)
        assert (label.choice, label.rationale, label.deleted_at) == ("left", None, None)
        events = s.scalars(select(Event).where(Event.kind == "person.retention")).all()
        assert [e.data for e in events] == [{"person": str(it.person("ann")), "days": 30}]


def test_without_a_rule_nobody_is(rule: Any) -> None:
    it = rule(None)
    deactivated(it.person("ann"), 4_000)
    assert enforced() == 0
    assert not is_forgotten(it.person("ann"))


def test_who_comes_back_begins_anew(rule: Any) -> None:
    it = rule(30)
    deactivated(it.person("ann"), 31)
    with transaction() as s:
        actions.change_person(s, s.get_one(Person, it.person("ann")), active=True)
        assert s.get_one(Person, it.person("ann")).deactivated_at is None
    assert enforced() == 0


def test_who_cannot_go_stays_and_keeps_nobody_else(rule: Any) -> None:
    it = rule(30)
    deactivated(it.person("olga", "owner"), 40)
    deactivated(it.person("ann"), 35)
    assert enforced() == 1
    assert [is_forgotten(it.person(name)) for name in ("olga", "ann")] == [False, True]


def test_ended_sessions_go(rule: Any) -> None:
    it = rule(None)
    with transaction() as s:
        ann = s.get_one(Person, it.person("ann"))
        kept, idle, old = (_begin(s, ann).token for _ in range(3))
        rows = s.scalars(select(SignIn).order_by(SignIn.id)).all()
        rows[1].last_seen_at = now() - dt.timedelta(days=4)
        rows[2].expires_at = now() - dt.timedelta(seconds=1)
        first = rows[0].id
    assert len({kept, idle, old}) == 3
    enforced()
    with transaction() as s:
        assert s.scalars(select(SignIn.id)).all() == [first]


def test_beat_asks_for_it() -> None:
    from worker.celery_app import app

    assert app.conf.beat_schedule["retention"]["task"] in app.tasks
