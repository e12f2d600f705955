"""A process whose clock is wrong changes nothing: leases and claims are measured by the
database's clock alone."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from app.database import transaction
from app.labelling import queries as labelling
from app.labelling.models import Claim, Preference
from app.rounds import runs
from app.rounds.models import Round, Run
from tests.labelling.conftest import World, make_world
from worker.hold import Hold, Progress

HOUR = 3600.0


@pytest.fixture(params=[HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
def wrong_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """This process reads a wall clock that is an hour off, however it reads it."""
    right, true = time.time, dt.datetime
    off = dt.timedelta(seconds=request.param)

    class Wrong(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return true.now(tz) + off

        @classmethod
        def utcnow(cls) -> Any:
            return true.now(dt.UTC).replace(tzinfo=None) + off

    monkeypatch.setattr(dt, "datetime", Wrong)
    monkeypatch.setattr(time, "time", lambda: right() + request.param)
    assert abs(dt.datetime.now(dt.UTC).timestamp() - right() - request.param) < 60
    off_by: float = request.param
    return off_by


@pytest.fixture
def world(database: Engine) -> World:
    """Two pairs that take labels."""
    it = make_world(2)
    it.open()
    return it


def seconds_left(column: Any, session: Any) -> float:
    return float(
        session.scalar(
            select(text("extract(epoch FROM x - now())")).select_from(
                select(column.label("x")).subquery()
            )
        )
    )


def test_claims_last_as_long_as_they_should(world: World, wrong_clock: float) -> None:
    claimed = world.claim("ann")[0]
    with transaction() as s:
        left = seconds_left(Claim.expires_at, s)
        assert 1_700 < left <= 1_800
        assert labelling.expire_claims(s) == 0
    assert world.claim("bob", 5)[0].claim.pair_id != claimed.claim.pair_id
    world.prefer("ann", claimed, "left")
    with transaction() as s:
        said = s.scalars(select(Preference)).one()
        assert said.seconds is not None
        assert 0 <= said.seconds < 60
        assert s.scalar(select(text("updated_at <= now()")).select_from(Preference)) is True


def test_what_expired_is_expired(world: World, wrong_clock: float) -> None:
    world.expire(world.claim("ann")[0])
    with transaction() as s:
        assert labelling.expire_claims(s) == 1


def test_a_worker_neither_loses_nor_keeps_its_hold_by_it(world: World, wrong_clock: float) -> None:
    with transaction() as s:
        round = s.scalars(select(Round)).one()
        s.add(Run(project_id=world.project.id, round_id=round.id, kind="generate", shard=9))
    with transaction() as s:
        run = runs.take(s, "host:1:x", 60, ["generate"])
    assert run is not None
    with transaction() as s:
        assert 50 < seconds_left(Run.lease_expires_at, s) <= 60
        assert runs.requeue_expired(s) == 0
    lost: list[bool] = []
    with Hold(run.id, 1, 60, 0.05, Progress("loading"), lambda: lost.append(True)):
        time.sleep(0.3)
    assert lost == []
    with transaction() as s:
        s.execute(text("UPDATE runs SET lease_expires_at = now() - interval '1 second'"))
    with transaction() as s:
        assert runs.requeue_expired(s) == 1
