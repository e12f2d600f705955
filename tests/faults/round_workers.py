"""Workers without a model: they take, renew, publish and lose runs by the product's own functions,
and publish what a model might have said."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from activedpo import types
from app.database import transaction
from app.rounds import runs, stages
from app.rounds.models import Run
from worker.device import JOBS
from worker.hold import HoldLostError
from worker.work import EvaluateOutcome, GenerateOutcome, Scored, TrainOutcome

Told = Callable[[], None]
LEASE = 3_600


def nothing() -> None:
    """There is nothing to remember."""


@dataclass
class Holding:
    """A run as its worker remembers it, however long ago, with the work that it read then."""

    run: uuid.UUID
    attempt: int
    kind: str
    work: Any


def outcome_of(holding: Holding) -> Any:
    """What the child would have answered; texts say which attempt wrote them."""
    if holding.kind == "train":
        files = {"adapter": {"size": 1, "sha256": "0"}}
        return TrainOutcome("adapter", {"trained_pairs": len(holding.work.labelled)}, files)
    if holding.kind == "evaluate":
        return EvaluateOutcome({"win_rate": 0.5})
    mark = f"{holding.run}/{holding.attempt}"
    given = [(asked.id, asked.prompt) for asked in holding.work.prompts]
    numbers = dict.fromkeys(("logp_a", "logp_b", "ref_logp_a", "ref_logp_b", "margin"), -1.0)
    scored = [
        Scored(
            key=key,
            pair=types.Pair(prompt, f"{mark} a{n}", f"{mark} b{n}"),
            equal=False,
            entropy=None,
            **numbers,
        )
        for n, (key, prompt) in enumerate(given)
    ]
    return GenerateOutcome(scored, left_out=[])


class Workers:
    """What three worker processes do, at the level of the database."""

    def __init__(self) -> None:
        self.holds: list[Holding] = []
        self.book: Any = None

    def take(self, i: int, _: int) -> Callable[[Session], Told]:
        def work(s: Session) -> Told:
            run = runs.take(s, f"host:{i % 3}:x", LEASE, list(JOBS))
            if run is None:
                return nothing
            held = Holding(run.id, run.attempt, run.kind, JOBS[run.kind].load(s, run))
            return lambda: self.holds.append(held)

        return work

    def publish(self, i: int, _: int) -> Callable[[Session], Told] | None:
        """As ``worker.device`` does it: one transaction, under the fencing number."""

        def end(s: Session, held: Holding, mine: Run) -> Told:
            job = JOBS[held.kind]
            if held.kind == "train":
                assert job.load(s, mine).labelled == held.work.labelled, "its labels have changed"
            job.store(s, mine, held.work, outcome_of(held))

            def told() -> None:
                assert held.run not in self.book.published, f"{held.kind} was published twice"
                self.book.published[held.run] = held.attempt

            return told

        return self._under_hold(i, end)

    def refuse(self, i: int, _: int) -> Callable[[Session], Told] | None:
        def end(s: Session, _: Holding, mine: Run) -> Told:
            stages.failed(s, mine, "it cannot be done")
            return nothing

        return self._under_hold(i, end)

    def give_up(self, i: int, j: int) -> Callable[[Session], Told] | None:
        def end(s: Session, _: Holding, mine: Run) -> Told:
            runs.give_up(s, mine, None if j % 2 else "it crashed")
            return nothing

        return self._under_hold(i, end)

    def heartbeat(self, i: int, j: int) -> Callable[[Session], Told] | None:
        held = self._held(i)
        if held is None:
            return None
        late = not stands(held)

        def work(s: Session) -> Told:
            checkpoint = f"checkpoints/{j}" if j % 2 else None
            renewed = runs.renew(s, held.run, held.attempt, LEASE, 1, 2, held.kind, checkpoint)
            assert not (renewed and late), "a worker that lost its hold was let go on"
            return nothing

        return work

    def lease_lapses(self, i: int, _: int) -> Callable[[Session], Told] | None:
        held = self._held(i)
        if held is None:
            return None

        def work(s: Session) -> Told:
            lapse = text(
                "UPDATE runs SET lease_expires_at = now() - interval '1 s' "
                "WHERE id = :id AND state = 'running'"
            )
            s.execute(lapse, {"id": held.run})
            return nothing

        return work

    def requeue(self, _: int, __: int) -> Callable[[Session], Told]:
        def work(s: Session) -> Told:
            runs.requeue_expired(s)
            return nothing

        return work

    def wake(self, _: int, __: int) -> Callable[[Session], Told]:
        def work(s: Session) -> Told:
            runs.wake(s)
            return nothing

        return work

    def _held(self, i: int) -> Holding | None:
        return self.holds[-1 - i % len(self.holds)] if self.holds else None

    def _under_hold(
        self, i: int, end: Callable[[Session, Holding, Run], Told]
    ) -> Callable[[Session], Told] | None:
        held = self._held(i)
        if held is None:
            return None
        late = not stands(held)

        def work(s: Session) -> Told:
            mine = runs.hold(s, held.run, held.attempt)
            if mine is None:
                raise HoldLostError
            assert not late, f"a worker that lost its hold on {held.kind} may write"
            return end(s, held, mine)

        return work


def stands(held: Holding) -> bool:
    """Whether the hold stands now; one that was lost never stands again."""
    with transaction() as s:
        row = s.execute(text("SELECT attempt, state FROM runs WHERE id = :id"), {"id": held.run})
        return tuple(row.one()) == (held.attempt, "running")
