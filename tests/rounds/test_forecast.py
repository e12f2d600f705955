"""What the next round will take, reckoned from what the last ones took."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from app.database import transaction
from app.models import Event, Policy, Project, Round, Run
from app.rounds import actions as rounds
from app.rounds.forecast import NO_ROUND, STAGES, Past, expected, forecast
from app.rounds.models import CLOSED
from tests.labelling.conftest import World, make_world

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
UNITS = {"generating": 100.0, "labelling": 10.0, "training": 50.0, "evaluating": 64.0}


def past(
    number: int = 1, seconds: float = 100.0, work: float | None = None, units: float = 100.0
) -> Past:
    worked = {} if work is None else {"generating": work}
    return Past(number, {"generating": seconds}, worked, UNITS | {"generating": units})


def test_what_grows_is_scaled_and_what_does_not_stays() -> None:
    """100 s, of which 80 s were work on 100 pairs: 20 s + 160 s for 200 pairs."""
    span = expected("generating", [past(work=80)], 200)
    assert span is not None
    assert (span.seconds, span.low, span.high) == (180.0, None, None)


def test_shards_that_worked_side_by_side_are_not_counted_twice() -> None:
    span = expected("generating", [past(work=400)], 50)
    assert span is not None
    assert span.seconds == 50.0


def test_several_rounds_give_the_median_and_an_interval() -> None:
    span = expected("generating", [past(seconds=s) for s in (90, 100, 150)], 100)
    assert span is not None
    assert (span.low, span.seconds, span.high) == (90.0, 100.0, 150.0)


def test_a_stage_that_never_was_is_not_guessed() -> None:
    assert expected("training", [past()], 10) is None


@given(
    st.lists(
        st.tuples(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(1, 1e4)), min_size=2, max_size=5
    ),
    st.floats(0, 1e4),
)
def test_the_expected_lies_in_its_interval_and_is_never_negative(
    took: list[tuple[float, float, float]], size: float
) -> None:
    span = expected("generating", [past(1, *one) for one in took], size)
    assert span is not None
    assert span.low is not None
    assert span.high is not None
    assert 0 <= span.low <= span.seconds <= span.high


@given(st.floats(1, 1e4), st.floats(1, 1e4))
def test_a_larger_round_takes_no_less(size: float, more: float) -> None:
    small, large = (expected("generating", [past(work=60)], n) for n in (size, size + more))
    assert small is not None
    assert large is not None
    assert small.seconds <= large.seconds


def went(world: World, number: int, took: dict[str, float], *, answers: int = 4) -> uuid.UUID:
    """A round that is done, with its log and its workers' clocks."""
    with transaction() as s:
        round = Round(
            project_id=world.project.id,
            number=number,
            state="done",
            needed=answers,
            answered=answers,
            metrics={"pool": 20, "trained_pairs": answers * number, "eval_prompts": 8},
        )
        s.add(round)
        s.flush()
        policy = Policy(
            project_id=world.project.id,
            number=number,
            kind="adapter",
            base_model="base",
            round_id=round.id,
            path=f"policy-{number}",
        )
        s.add(policy)
        s.flush()
        round.policy_out_id = policy.id
        at = START
        for stage in STAGES:
            s.add(Event(project_id=round.project_id, round_id=round.id, kind=f"round.{stage}",
                        created_at=at))  # fmt: skip
            s.flush()
            at += dt.timedelta(seconds=took.get(stage, 0))
        s.add(Event(project_id=round.project_id, round_id=round.id, kind="round.done",
                    created_at=at))  # fmt: skip
        stages = {"loading": {"seconds": 10.0}, "training": {"seconds": took["training"] - 10}}
        s.add(
            Run(
                project_id=round.project_id,
                round_id=round.id,
                kind="train",
                state="done",
                output={"clock": {"stages": stages}},
            )
        )
        return round.id


TOOK = {"generating": 60.0, "labelling": 400.0, "training": 50.0, "evaluating": 30.0}


def told(world: World) -> dict[str, object]:
    with transaction() as s:
        return forecast(s, s.get_one(Project, world.project.id)).view()


@pytest.fixture
def generated(database: Engine) -> Callable[..., World]:
    def make(**more: object) -> World:
        return make_world(0, source="generated", batch_size=4, pool_size=20, **more)

    return make


def test_before_the_first_round_it_says_that_it_cannot_tell(
    generated: Callable[..., World],
) -> None:
    view = told(generated())
    assert (view["round"], view["seconds"], view["stages"]) == (1, None, {})
    assert view["reason"] == NO_ROUND


def test_one_round_gives_a_number_and_no_interval(generated: Callable[..., World]) -> None:
    w = generated()
    went(w, 1, TOOK)
    view = told(w)
    assert (view["round"], view["from_rounds"]) == (2, [1])
    stages = view["stages"]
    assert isinstance(stages, dict)
    assert stages["generating"]["seconds"] == 60.0
    assert stages["training"] == {
        "seconds": 90.0,  # 10 s that do not grow, 40 s for 4 pairs: 80 s for 8
        "low": None,
        "high": None,
        "units": 8.0,
        "unit": "pairs trained on",
    }
    assert view["low"] is view["high"] is None


def test_several_rounds_give_an_interval_and_settings_count_as_they_are_now(
    generated: Callable[..., World],
) -> None:
    w = generated()
    went(w, 1, TOOK)
    went(w, 2, {**TOOK, "generating": 80.0})
    with transaction() as s:
        s.get_one(Project, w.project.id).pool_size = 40
    view = told(w)
    stages = view["stages"]
    assert isinstance(stages, dict)
    generating = stages["generating"]
    assert (generating["low"], generating["seconds"], generating["high"]) == (120.0, 140.0, 160.0)
    assert view["low"] is not None
    assert view["low"] < view["seconds"] < view["high"]  # type: ignore[operator]


def test_what_stood_still_between_failing_and_trying_again_is_not_counted(
    generated: Callable[..., World],
) -> None:
    w = generated()
    round_id = went(w, 1, TOOK)
    with transaction() as s:
        done = (Event.round_id == round_id) & (Event.kind == "round.done")
        s.execute(delete(Event).where(done))
        at = START + dt.timedelta(seconds=540)
        for kind, seconds in (("failed", 9_000), ("evaluating", 5), ("done", 0)):
            s.add(Event(project_id=w.project.id, round_id=round_id, kind=f"round.{kind}",
                        created_at=at))  # fmt: skip
            s.flush()
            at += dt.timedelta(seconds=seconds)
    stages = told(w)["stages"]
    assert isinstance(stages, dict)
    assert stages["evaluating"]["seconds"] == 35.0


def test_a_real_round_is_reckoned_with(database: Engine) -> None:
    w = make_world(4, batch_size=2)
    round = w.open()
    for claimed in w.claim("ann", 2):
        w.prefer("ann", claimed, "left", seconds=12.0)
    with transaction() as s:
        mine = s.get_one(Round, round.id)
        policy = Policy(project_id=w.project.id, number=1, kind="adapter", base_model="base",
                        round_id=mine.id, path="x")  # fmt: skip
        s.add(policy)
        s.flush()
        mine.policy_out_id = policy.id
        rounds.move(s, mine, "evaluating")
        rounds.move(s, mine, "done")
        assert mine.state in CLOSED
    view = told(w)
    assert view["labelling_effort_seconds"] == 24.0
    stages = view["stages"]
    assert isinstance(stages, dict)
    assert "generating" not in stages  # no model chose among imported pairs
    assert stages["labelling"]["units"] == 2.0
