"""One oracle at work under its hold: claims pairs, judges them side by side, stores the answers."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from opentelemetry.trace import SpanKind
from sqlalchemy import Text, bindparam, column, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from activedpo.oracles.llm import LLMJudge
from activedpo.oracles.verdict import (
    Judge,
    JudgeError,
    RefusedPairError,
    StoppedError,
    TroubleError,
    Verdict,
)
from app import faults, tracing
from app.database import transaction
from app.labelling import actions as labelling
from app.labelling import batch
from app.labelling.actions import Answer, ClaimedPair
from app.oracles import actions, queries
from app.oracles.models import LEFT_TO_PEOPLE, Oracle
from app.oracles.models import Verdict as KeptReply
from app.projects.models import Project
from worker.device import patiently
from worker.hold import LOOK_SECONDS, HoldLostError

log = structlog.get_logger()
T = TypeVar("T")
MOST_FAILURES = 3
"""Times that one pair may fail, each after the judge's own retries, before it is given up."""

LARGEST_CLAIM = 200
GATHER_SECONDS = 0.05
"""How long answers of a judge that takes its time wait for others, to be stored with them."""


@dataclass(frozen=True)
class Held:
    """What a hold on an oracle is about; plain values."""

    id: uuid.UUID
    attempt: int
    project_id: uuid.UUID
    person_id: uuid.UUID
    kind: str
    settings: dict[str, Any]
    spent: dict[str, Any]
    sealed: str | None = field(repr=False, default=None)

    @classmethod
    def of(cls, oracle: Oracle) -> Held:
        """Read off a row that was just taken."""
        return cls(
            oracle.id,
            oracle.attempt,
            oracle.project_id,
            oracle.person_id,
            oracle.kind,
            dict(oracle.settings),
            dict(oracle.spent),
            oracle.secret,
        )


class Kept(dict[str, dict[str, Any]]):
    """Replies by content; those that are new are written with the next answers."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: dict[str, dict[str, Any]] = {}

    def __setitem__(self, key: str, reply: dict[str, Any]) -> None:
        super().__setitem__(key, reply)
        self.fresh[key] = reply


def answer_of(verdict: Verdict, settings: dict[str, Any], seconds: float | None = None) -> Answer:
    """A verdict as a preference: a side, a tie, or a skip where it cannot decide."""
    p, judge = verdict.p, verdict.record
    if p is not None and p != 0.5 and max(p, 1 - p) < settings.get("abstain_below", 0.5):
        judge = {**judge, "p": p, "reason": "less sure than it has to be"}
        p = None
    if p is None:
        return Answer("skip", judge=judge, seconds=seconds)
    choice = "tie" if p == 0.5 else "left" if p > 0.5 else "right"
    return Answer(choice, p_left=p, judge=judge, seconds=seconds)


def claim(session: Session, held: Held, count: int, *, first: bool) -> list[ClaimedPair]:
    """Further pairs for the oracle; at first also what it holds since a crash.

    Raises:
        HoldLostError: somebody else has the oracle, or nobody wants it any more.
    """
    # Under its lock: a claim is made before a detachment, which gives it back, or not at all
    oracle = queries.held(session, held.id, held.attempt)
    if oracle is None:
        raise HoldLostError
    project = session.get_one(Project, held.project_id)
    old = labelling.held_claims(session, project, held.person_id) if first else []
    if not queries.has_its_turn(session, oracle):
        return old
    return [*old, *labelling.claim_pairs(session, project, held.person_id, count)]


def store(
    session: Session,
    held: Held,
    answers: Sequence[tuple[uuid.UUID, Answer]],
    spent: dict[str, float],
    replies: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Write answers under the fencing number; a hold that was lost writes nothing.

    Raises:
        HoldLostError: it is lost.
    """
    oracle = queries.held(session, held.id, held.attempt)
    if oracle is None:
        raise HoldLostError
    answers = _without_audit(session, oracle, answers)
    outcomes = batch.prefer_all(session, answers, held.person_id, lambda _: None)
    late = sum(outcome.problem is not None for outcome in outcomes)
    if late:
        log.info("answers_not_wanted", count=late)
    if replies:
        _keep_replies(session, held.project_id, replies)
    if answers:
        actions.worked(session, oracle, {**spent, "labels": len(answers) - late})
    faults.point("judge.storing")


def _keep_replies(
    session: Session, project_id: uuid.UUID, replies: dict[str, dict[str, Any]]
) -> None:
    """In one statement with one parameter, in one order for everybody."""
    rows = [{"key": key, "reply": replies[key]} for key in sorted(replies)]
    said = func.jsonb_to_recordset(bindparam("said", rows, JSONB)).table_valued(
        column("key", Text), column("reply", JSONB), name="said"
    )
    said = said.render_derived(with_types=True)
    query = select(literal(project_id), said.c.key, said.c.reply)
    kept = insert(KeptReply).from_select(["project_id", "key", "reply"], query)
    session.execute(kept.on_conflict_do_nothing())


def _without_audit(
    session: Session, oracle: Oracle, answers: Sequence[tuple[uuid.UUID, Answer]]
) -> Sequence[tuple[uuid.UUID, Answer]]:
    """Where people label the audit share: its answers there as skips, with what it thinks."""
    if oracle.mode != "first" or not oracle.settings.get("audit_to_people"):
        return answers
    audit = queries.of_audit_share(session, [claim for claim, _ in answers])
    return [
        (claim, _left_to_people(answer) if claim in audit else answer) for claim, answer in answers
    ]


def _left_to_people(answer: Answer) -> Answer:
    if answer.choice == "skip":
        return answer
    judge = {**(answer.judge or {}), "p": answer.p_left, "reason": LEFT_TO_PEOPLE}
    return Answer("skip", judge=judge, seconds=answer.seconds)


class Shift:
    """The work of one hold. ``width``: pairs under way at a time."""

    def __init__(self, held: Held, judge: Judge, width: int, kept: Kept, renew_each: float) -> None:
        self.held, self.judge, self.width = held, judge, width
        self._kept, self._renew_each = kept, renew_each
        self._under_way: dict[asyncio.Task[tuple[Verdict, float]], ClaimedPair] = {}
        self._again: list[ClaimedPair] = []
        self._failed: dict[uuid.UUID, tuple[int, int]] = {}
        self._successes = 0
        self._failures_in_a_row = 0
        self._first = True

    async def work(self, lease_seconds: float) -> None:
        """Label until nothing is left.

        Raises:
            HoldLostError: store nothing more. StoppedError, TroubleError: as of the judge.
        """
        labelling_ = asyncio.create_task(self._label())
        beat = asyncio.create_task(self._beat(lease_seconds))
        try:
            await asyncio.wait((labelling_, beat), return_when=asyncio.FIRST_COMPLETED)
            if beat.done() and not labelling_.done():
                raise HoldLostError
            await labelling_
        finally:
            for task in (labelling_, beat, *self._under_way):
                task.cancel()
            await asyncio.gather(labelling_, beat, *self._under_way, return_exceptions=True)

    async def _beat(self, lease_seconds: float) -> None:
        """Renews the lease, which is fresh at first; ends when the hold is lost."""
        renewed = time.monotonic()
        while True:
            now = time.monotonic()
            due = now - renewed >= self._renew_each
            try:
                stands = await in_database(self._renew if due else self._look, lease_seconds)
            except Exception as error:  # the database is away: until the lease must be over
                log.warning("heartbeat_missed", error=type(error).__name__)
                stands = time.monotonic() - renewed < lease_seconds
            else:
                renewed = now if due else renewed
            if not stands:
                return
            await asyncio.sleep(min(LOOK_SECONDS, self._renew_each))

    def _renew(self, session: Session, seconds: float) -> bool:
        return queries.renew(session, self.held.id, self.held.attempt, seconds)

    def _look(self, session: Session, _: float) -> bool:
        return queries.wanted(session, self.held.id, self.held.attempt)

    async def _label(self) -> None:
        stopped: StoppedError | None = None
        while True:
            if stopped is None:
                await self._top_up()
            if not self._under_way:
                break
            done = await self._finished()
            try:
                await self._keep([(self._under_way.pop(task), task) for task in done])
            except StoppedError as error:
                stopped = error  # what is under way is paid for: it is waited for and stored
        if stopped is not None:
            raise stopped

    async def _top_up(self) -> None:
        missing = self.width - len(self._under_way)
        if 0 < missing < self.width // 4 and not self._again:
            return  # enough is under way: few claims of many, not many of few
        again, self._again = self._again, []
        if missing > len(again):
            count = min(LARGEST_CLAIM, missing - len(again))
            claimed = await in_database(self._claim, count)
            self._first = False
            busy = {pair.claim.id for pair in [*self._under_way.values(), *again]}
            again += [pair for pair in claimed if pair.claim.id not in busy]
        for pair in again:
            self._under_way[asyncio.create_task(self._judged(pair))] = pair

    def _claim(self, session: Session, count: int) -> list[ClaimedPair]:
        claimed = claim(session, self.held, count, first=self._first)
        if isinstance(self.judge, LLMJudge):
            keys = [k for c in claimed for k in self.judge.keys(c.prompt, c.left, c.right)]
            rows = session.execute(
                select(KeptReply.key, KeptReply.reply).where(
                    KeptReply.project_id == self.held.project_id, KeptReply.key.in_(keys)
                )
            )
            self._kept.update({row.key: row.reply for row in rows})
        return claimed

    async def _judged(self, pair: ClaimedPair) -> tuple[Verdict, float]:
        started = time.monotonic()
        about, round_id = str(pair.claim.id), str(pair.claim.round_id)
        with tracing.span("judge", kind=SpanKind.CLIENT, claim=about, round=round_id):
            verdict = await self.judge(pair.prompt, pair.left, pair.right)
        return verdict, time.monotonic() - started

    async def _finished(self) -> set[asyncio.Task[tuple[Verdict, float]]]:
        done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        # a moment more, so that answers that come together are stored together
        await asyncio.sleep(GATHER_SECONDS if isinstance(self.judge, LLMJudge) else 0.0)
        return done | {task for task in self._under_way if task.done()}

    async def _keep(self, done: list[tuple[ClaimedPair, asyncio.Task[Any]]]) -> None:
        answers: list[tuple[uuid.UUID, Answer]] = []
        spent: dict[str, float] = {}
        ended: JudgeError | None = None
        for pair, task in done:
            error = task.exception()
            if error is None:
                verdict, seconds = task.result()
                self._went_well(pair)
                answers.append((pair.claim.id, answer_of(verdict, self.held.settings, seconds)))
                for name, value in verdict.spent.items():
                    spent[name] = spent.get(name, 0.0) + value
                continue
            try:
                answers += self._went_badly(pair, error)
            except JudgeError as final:
                ended = final
        fresh, self._kept.fresh = self._kept.fresh, {}
        if answers or fresh:
            faults.point("judge.replied")
            await in_database(store, self.held, answers, spent, fresh)
            faults.point("judge.stored")
        if ended is not None:
            raise ended

    def _went_well(self, pair: ClaimedPair) -> None:
        self._successes += 1
        self._failures_in_a_row = 0
        self._failed.pop(pair.claim.id, None)

    def _went_badly(
        self, pair: ClaimedPair, error: BaseException
    ) -> list[tuple[uuid.UUID, Answer]]:
        """A skip where the fault lies with the pair, another try where it may not.

        Raises:
            StoppedError, TroubleError: where the fault lies with the judge.
        """
        if isinstance(error, StoppedError | asyncio.CancelledError):
            raise error
        proven = self._successes > 0 or self.held.spent.get("labels", 0) > 0
        if isinstance(error, RefusedPairError) and proven:
            return [(pair.claim.id, self._given_up(str(error)))]
        count, since = self._failed.get(pair.claim.id, (0, self._successes))
        self._failed[pair.claim.id] = (count + 1, since)
        self._failures_in_a_row += 1
        if count + 1 >= MOST_FAILURES and self._successes > since:
            return [(pair.claim.id, self._given_up(_said(error)))]
        enough = max(MOST_FAILURES, self.width // 8)
        if count + 1 >= MOST_FAILURES or self._failures_in_a_row >= enough:
            raise TroubleError(_said(error), getattr(error, "retry_after", None))
        self._again.append(pair)
        return []

    def _given_up(self, why: str) -> Answer:
        name = str(self.held.settings.get("model") or self.held.kind)
        return Answer("skip", judge={"name": name, "reason": why})


def _said(error: BaseException) -> str:
    """For people: never the text of an error that is not ours."""
    return str(error) if isinstance(error, JudgeError) else f"it raised {type(error).__name__}"


@patiently
def _transacted(work: Callable[..., T], *rest: Any) -> T:
    with transaction() as session:
        return work(session, *rest)


def in_database(work: Callable[..., T], *rest: Any) -> Awaitable[T]:
    """Do ``work(session, *rest)`` in a transaction of its own, in another thread."""
    return asyncio.to_thread(_transacted, work, *rest)
