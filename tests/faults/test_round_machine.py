"""People, oracles, workers, the clock and kills over whole rounds, in any order and at once.

The rules of rounds are the product's own, on a real Postgres: acts are transactions on
connections of their own, and only the model is left out. ``ROUND_MACHINE=N`` goes N times as far
as the suite has time for, on other examples each time; ``ROUND_MACHINE_REPLAY=0`` ends at the first
failure without making it smaller.

A failure is replayed step by step and made smaller. ``overlapping`` lets two transactions meet in
one order, so it replays too; what threads do inside ``at_once`` and ``doubled`` is for Postgres
and the scheduler to say, and hypothesis may call a failure of theirs flaky.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, delete, text

from app import jobs
from app.database import transaction
from app.models import Person, Project
from app.settings import get_settings
from tests.faults.round_drive import FATES, Driver
from tests.faults.round_promises import CLOSED, check
from tests.faults.round_world import PEOPLE, World
from worker.reconciler import reconcile

TIMES = int(os.environ.get("ROUND_MACHINE", "1"))
REPLAY = os.environ.get("ROUND_MACHINE_REPLAY", "1") != "0"
EXAMPLES, STEPS = 20, 80

PEOPLES = ("claim", "prefer", "answer_many", "amend", "undo", "release", "read_on", "claim_lapses")
WORKERS = ("take", "publish", "heartbeat", "lease_lapses", "refuse", "give_up")
JUDGES = ("judge_takes", "judge_claims", "judge_stores", "judge_lapses", "judge_leaves")
CLOCK = ("requeue", "expire", "wake", "supervise")
STEERING = ("open", "retry", "cut_short", "cancel", "attach", "detach")
# what happens often comes often: a round that is cancelled at every turn shows nothing
VERBS = (*PEOPLES * 3, *WORKERS * 2, *JUDGES, *CLOCK, *STEERING)

index, detail = st.integers(0, 15), st.integers(0, 6)
fates = st.sampled_from(("stands", *FATES))
planned = st.tuples(st.sampled_from(VERBS), index, detail)


def machine(driver: Driver, seen: Counter[str]) -> type[RuleBasedStateMachine]:
    """The machine on a database that is empty; ``seen`` counts what came about."""

    class Rounds(RuleBasedStateMachine):
        world: World | None = None

        @initialize(
            source=st.sampled_from(("generated", "imported")),
            overlap=st.integers(1, 2),
            adjudicate=st.booleans(),
            auto_next=st.booleans(),
        )
        def begin(self, source, overlap, adjudicate, auto_next):
            self.world = World(
                source=source, overlap=overlap, adjudicate=adjudicate, auto_next=auto_next
            )
            driver.alone(self.world.plan("open", 0, 0))

        def one(self, verb, i, j, fate):
            driver.alone(self.world.plan(verb, i, j), fate)

        @rule(verb=st.sampled_from(PEOPLES), i=index, j=detail, fate=fates)
        def people(self, verb, i, j, fate):
            self.one(verb, i, j, fate)

        @rule(verb=st.sampled_from(WORKERS), i=index, j=detail, fate=fates)
        def workers(self, verb, i, j, fate):
            self.one(verb, i, j, fate)

        @rule(verb=st.sampled_from(JUDGES), i=index, j=detail, fate=fates)
        def judges(self, verb, i, j, fate):
            self.one(verb, i, j, fate)

        @rule(verb=st.sampled_from(CLOCK + STEERING), i=index, j=detail, fate=fates)
        def clock(self, verb, i, j, fate):
            self.one(verb, i, j, fate)

        @rule(first=planned, second=planned, fate=st.sampled_from(FATES[:3]))
        def overlapping(self, first, second, fate):
            driver.overlapping(self.world.plan(*first), self.world.plan(*second), fate)

        @rule(acts=st.lists(planned, min_size=2, max_size=6))
        def at_once(self, acts):
            driver.at_once([self.world.plan(*act) for act in acts])

        @rule(copies=st.sampled_from((2, 10)))
        def doubled(self, copies):
            """A wake-up call comes many times, late or in time: each run goes to one worker."""
            before = len(self.world.holds)
            driver.at_once([self.world.plan("take", n, 0) for n in range(copies)])
            taken = [held.run for held in self.world.holds[before:]]
            assert len(taken) == len(set(taken)), "two workers took the same run"

        @rule()
        def a_worker_that_works(self):
            work(driver, self.world)

        @rule()
        def people_who_label(self):
            label(driver, self.world)

        @invariant()
        def every_promise_holds(self):
            if self.world is not None:
                check(self.world.book)

        def teardown(self):
            try:
                if self.world is not None and sys.exc_info()[0] is None:
                    ends(driver, self.world)
                    seen.update(states())
                    seen["preferences"] += len(self.world.book.said)
            finally:
                with transaction() as s:
                    s.execute(delete(Project))
                    s.execute(delete(Person))

    return Rounds


def work(driver: Driver, world: World) -> None:
    """A worker does whatever waits."""
    for _ in range(20):
        before = len(world.holds)
        driver.alone(world.plan("take", 0, 0))
        if len(world.holds) == before:
            return
        driver.alone(world.plan("publish", 0, 0))
    raise AssertionError("work does not come to an end")


def label(driver: Driver, world: World) -> None:
    """The oracle, then everybody, answers what there is for them."""
    for verb in ("judge_takes", "judge_claims", "judge_stores", "judge_leaves"):
        driver.alone(world.plan(verb, 0, 2 if verb == "judge_claims" else 0))
    for who in range(len(PEOPLE)):
        before = len(world.claims)
        driver.alone(world.plan("claim", who, 2))
        for n in range(len(world.claims) - before):
            driver.alone(world.plan("prefer", n, n))


def ends(driver: Driver, world: World) -> None:
    """Every hold runs out and everybody works: the open round must end, with nothing left over."""
    with transaction() as s:
        s.execute(text("UPDATE projects SET auto_next = false"))
    for _ in range(12):
        _time_passes()
        state = _newest()
        if state is None or state in CLOSED:
            break
        if state == "failed":
            driver.alone(world.plan("retry", 0, 0))
        work(driver, world)
        label(driver, world)
        check(world.book)
    else:
        raise AssertionError(f"the round does not end by itself: it is {_newest()}")
    _time_passes()
    check(world.book)
    with transaction() as s:
        stuck = s.execute(text("SELECT count(*) FROM claims WHERE state = 'live'")).scalar()
        assert stuck == 0, "a claim is stuck"
        waiting = text("SELECT kind, state FROM runs WHERE state NOT IN ('done', 'cancelled')")
        assert s.execute(waiting).all() == []


def _time_passes() -> None:
    with transaction() as s:
        s.execute(text("UPDATE claims SET expires_at = created_at WHERE state = 'live'"))
        s.execute(text("UPDATE runs SET lease_expires_at = created_at WHERE state = 'running'"))
        s.execute(text("UPDATE oracles SET lease_expires_at = NULL, next_try_at = NULL"))
    reconcile()


def _newest() -> str | None:
    with transaction() as s:
        return s.execute(text("SELECT state FROM rounds ORDER BY number DESC LIMIT 1")).scalar()


def states() -> Counter[str]:
    """How many rounds ended how."""
    with transaction() as s:
        return Counter(s.execute(text("SELECT 'round ' || state FROM rounds")).scalars().all())


@pytest.fixture
def driver(
    database: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Driver]:
    monkeypatch.setattr(
        jobs, "send", lambda bells: None
    )  # every message is lost, or comes as a rule
    monkeypatch.setattr(get_settings(), "shard_prompts", 3)
    driver = Driver(environment["ACTIVEDPO_DATABASE_URL"])
    yield driver
    driver.close()


@pytest.mark.timeout(900 * TIMES)
def test_rounds_keep_their_promises_whatever_happens_at_once(driver: Driver) -> None:
    seen: Counter[str] = Counter()
    run_state_machine_as_test(
        machine(driver, seen),
        settings=settings(
            max_examples=EXAMPLES * TIMES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=TIMES == 1,
            database=None,
            phases=list(Phase) if REPLAY else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    told = f"{driver.done} acts, {driver.refused} refused, {driver.again} asked again, {dict(seen)}"
    # a machine that comes to nothing would keep every promise
    assert driver.done > 2_000 * TIMES, told
    assert driver.refused > 50, told
    assert seen["round done"] > 10 * TIMES, told
    assert seen["preferences"] > 60 * TIMES, told
    logging.getLogger(__name__).info(told)
