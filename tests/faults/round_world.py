"""One project for ``test_round_machine``: what people, oracles and workers may do in it, each an
:class:`Act` of one transaction, and a book of what they were told once it had committed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database import transaction
from app.labelling import actions as labelling
from app.labelling import batch, leases
from app.labelling import queries as labelling_queries
from app.labelling.actions import Answer
from app.models import Membership, Pair, Person, Policy, Preference, Project, Prompt
from app.oracles import actions as oracles
from app.oracles import queries as oracle_queries
from app.oracles.schema import Length
from app.rounds import actions as rounds
from app.rounds.models import Round
from tests.faults.round_workers import Told, Workers, nothing

T = TypeVar("T")
PROJECT = uuid.UUID(int=1)
PEOPLE = ("ann", "bob", "cid", "outside")
ROLES = {"cid": "reviewer", "outside": "oracle"}
CHOICES = ("left", "right", "left", "right", "tie", "both_bad", "skip")
MODES = ("alone", "first", "with_people")


def named(what: str) -> uuid.UUID:
    """The same id in every world: what is drawn by ids is drawn alike at a replay."""
    return uuid.uuid5(PROJECT, what)


@dataclass(frozen=True)
class Act:
    """Work of one transaction; what ``work`` returns is called once that has committed."""

    name: str
    work: Callable[[Session], Told]


@dataclass
class Book:
    """What was told, and so must be true: nothing else may be."""

    said: dict[uuid.UUID, dict[int, str]] = field(default_factory=dict)
    undone: set[uuid.UUID] = field(default_factory=set)
    published: dict[uuid.UUID, int] = field(default_factory=dict)
    frozen: dict[uuid.UUID, frozenset[tuple[uuid.UUID, int]]] = field(default_factory=dict)

    def standing(self) -> dict[uuid.UUID, tuple[int, str]]:
        """The last version of every preference that nobody took back."""
        return {
            id: max(versions.items()) for id, versions in self.said.items() if id not in self.undone
        }


@dataclass
class Judging:
    """A worker's hold on the attached oracle, and the claims it made under it."""

    held: Any
    claims: list[uuid.UUID] = field(default_factory=list)


def pick(of: Sequence[T], i: int) -> T | None:
    """The newest for 0, older ones for more; None where there is none."""
    return of[-1 - i % len(of)] if of else None


class World(Workers):
    """The project with everybody's memory of what they hold. ``verbs``: name → act for (i, j)."""

    def __init__(self, *, source: str, overlap: int, adjudicate: bool, auto_next: bool) -> None:
        super().__init__()
        self.people = {name: named(name) for name in PEOPLE}
        self.book = Book()
        self.claims: list[tuple[uuid.UUID, uuid.UUID]] = []
        self.said: list[tuple[uuid.UUID, uuid.UUID]] = []
        self.judging: list[Judging] = []
        with transaction() as s:
            project = Project(
                id=PROJECT,
                name="T",
                base_model="m",
                source=source,
                acquisition="random",
                batch_size=3,
                pool_size=6,
                overlap=overlap,
                overlap_share=0.5,
                adjudicate=adjudicate,
                auto_next=auto_next,
            )
            s.add(project)
            s.flush()
            base = Policy(project_id=PROJECT, number=0, kind="base", base_model="m")
            s.add(base)
            s.flush()
            project.policy_id = base.id
            self._fill(s, 40 if source == "imported" else 8, imported=source == "imported")
            for name, id in self.people.items():
                s.add(Person(id=id, email=f"{name}@example.org", name=name))
                s.flush()
                role = ROLES.get(name, "annotator")
                s.add(Membership(project_id=PROJECT, person_id=id, role=role))

    @staticmethod
    def _fill(s: Session, count: int, *, imported: bool) -> None:
        for i in range(count):
            id = named(f"prompt {i}")
            s.add(Prompt(id=id, project_id=PROJECT, content=f"p{i}", content_hash=str(i)))
            s.flush()
            if imported:
                texts = {"completion_a": f"a{i}", "completion_b": f"b{i}"}
                s.add(Pair(id=named(f"pair {i}"), project_id=PROJECT, prompt_id=id, **texts))

    def plan(self, verb: str, i: int, j: int) -> Act | None:
        """The act of a verb on the ``i``-th newest thing that it is about, or None without one."""
        work = getattr(self, verb)(i, j)
        return None if work is None else Act(f"{verb}({i}, {j})", work)

    # people, and the oracle from outside

    def claim(self, i: int, j: int) -> Callable[[Session], Told]:
        who = self.people[PEOPLE[i % len(PEOPLE)]]

        def work(s: Session) -> Told:
            project = s.get_one(Project, PROJECT)
            got = [(who, c.claim.id) for c in labelling.claim_pairs(s, project, who, 1 + j % 3)]
            return lambda: self.claims.extend(got)

        return work

    def prefer(self, i: int, j: int) -> Callable[[Session], Told] | None:
        held = pick(self.claims, i)
        if held is None:
            return None
        who, claim = held

        def work(s: Session) -> Told:
            answer = Answer(CHOICES[j % len(CHOICES)])
            preference, new = labelling.prefer(s, claim, who, answer)
            return self._told(who, preference) if new else nothing

        return work

    def answer_many(self, i: int, j: int) -> Callable[[Session], Told] | None:
        held = pick(self.claims, i)
        if held is None:
            return None
        who = held[0]
        mine = [claim for person, claim in self.claims if person == who][-4:]
        answers = [(claim, Answer(CHOICES[(j + k) % len(CHOICES)])) for k, claim in enumerate(mine)]

        def work(s: Session) -> Told:
            outcomes = batch.prefer_many(s, [*answers, answers[0]], who, lambda _: None)
            new = [self._told(who, o.preference) for o in outcomes if o.preference and o.new]
            return lambda: [told() for told in new] and None

        return work

    def amend(self, i: int, j: int) -> Callable[[Session], Told] | None:
        stored = pick(self.said, i)
        if stored is None:
            return None
        who, id = stored

        def work(s: Session) -> Told:
            answer = Answer(CHOICES[j % len(CHOICES)])
            return self._told(who, labelling.amend(s, id, who, answer))

        return work

    def undo(self, i: int, _: int) -> Callable[[Session], Told] | None:
        stored = pick(self.said, i)
        if stored is None:
            return None
        who, id = stored

        def work(s: Session) -> Told:
            back = labelling.undo(s, id, who).claim.id

            def told() -> None:
                self.book.undone.add(id)
                self.claims.append((who, back))

            return told

        return work

    def release(self, i: int, _: int) -> Callable[[Session], Told] | None:
        held = pick(self.claims, i)
        if held is None:
            return None

        def work(s: Session) -> Told:
            labelling.release(s, held[1], held[0])
            return nothing

        return work

    def read_on(self, i: int, _: int) -> Callable[[Session], Told] | None:
        held = pick(self.claims, i)
        if held is None:
            return None

        def work(s: Session) -> Told:
            leases.renew(s, s.get_one(Project, PROJECT), held[1], held[0])
            return nothing

        return work

    def claim_lapses(self, i: int, _: int) -> Callable[[Session], Told] | None:
        held = pick(self.claims, i)
        if held is None:
            return None
        return _statement(
            "UPDATE claims SET expires_at = created_at WHERE id = :id AND state = 'live'",
            id=held[1],
        )

    # what is asked of rounds

    def open(self, _: int, __: int) -> Callable[[Session], Told]:
        def work(s: Session) -> Told:
            rounds.open_round(s, s.get_one(Project, PROJECT), None)
            return nothing

        return work

    def cancel(self, i: int, _: int) -> Callable[[Session], Told]:
        return self._steer(rounds.cancel, i)

    def retry(self, _: int, __: int) -> Callable[[Session], Told]:
        return self._steer(rounds.retry, 0)

    def cut_short(self, _: int, __: int) -> Callable[[Session], Told]:
        return self._steer(rounds.train_now, 0)

    def _steer(self, verb: Callable[..., Round], i: int) -> Callable[[Session], Told]:
        def work(s: Session) -> Told:
            ids = s.execute(text("SELECT id FROM rounds ORDER BY number")).scalars().all()
            id = pick(ids, i)
            if id is not None:
                verb(s, s.get_one(Round, id))
            return nothing

        return work

    # the attached oracle, and the workers that work for it

    def attach(self, i: int, _: int) -> Callable[[Session], Told]:
        def work(s: Session) -> Told:
            settings = Length(kind="length", mode=MODES[i % len(MODES)])
            oracles.attach(s, s.get_one(Project, PROJECT), settings)
            return nothing

        return work

    def detach(self, _: int, __: int) -> Callable[[Session], Told]:
        def work(s: Session) -> Told:
            oracles.detach(s, s.get_one(Project, PROJECT))
            return nothing

        return work

    def judge_takes(self, i: int, _: int) -> Callable[[Session], Told]:
        from worker.shift import Held

        def work(s: Session) -> Told:
            oracle = oracle_queries.take(s, PROJECT, f"host:{i % 3}:x", 3_600)
            if oracle is None:
                return nothing
            judging = Judging(Held.of(oracle))
            return lambda: self.judging.append(judging)

        return work

    def judge_claims(self, i: int, j: int) -> Callable[[Session], Told] | None:
        from worker import shift

        judging = pick(self.judging, i)
        if judging is None:
            return None
        late = not self._judges_still(judging)

        def work(s: Session) -> Told:
            got = shift.claim(s, judging.held, 1 + j % 3, first=not judging.claims)
            assert not late, "an oracle's worker that lost its hold claimed pairs"
            return lambda: judging.claims.extend(c.claim.id for c in got)

        return work

    def judge_stores(self, i: int, j: int) -> Callable[[Session], Told] | None:
        from worker import shift

        judging = pick(self.judging, i)
        if judging is None or not judging.claims:
            return None
        late, claims = not self._judges_still(judging), list(judging.claims)
        answers = [(c, Answer(CHOICES[(j + k) % len(CHOICES)])) for k, c in enumerate(claims)]

        def work(s: Session) -> Told:
            shift.store(s, judging.held, answers, {"calls": 1})
            assert not late, "an oracle's worker that lost its hold stored answers"
            stored = s.query(Preference).where(
                Preference.claim_id.in_(claims), Preference.deleted_at.is_(None)
            )
            told = [self._told(p.person_id, p) for p in stored if p.id not in self.book.said]

            def after() -> None:
                for each in told:
                    each()
                judging.claims = [c for c in judging.claims if c not in claims]

            return after

        return work

    def judge_leaves(self, i: int, j: int) -> Callable[[Session], Told] | None:
        judging = pick(self.judging, i)
        if judging is None:
            return None

        def work(s: Session) -> Told:
            oracle = oracle_queries.held(s, judging.held.id, judging.held.attempt)
            if oracle is not None:
                end = (oracles.let_go, oracles.rest, oracles.stop)[j % 3]
                end(s, oracle) if end is oracles.let_go else end(s, oracle, "trouble")
            return nothing

        return work

    def judge_lapses(self, _: int, __: int) -> Callable[[Session], Told]:
        return _statement(
            "UPDATE oracles SET lease_expires_at = now() - interval '1 s', "
            "next_try_at = least(next_try_at, now()) WHERE lease_expires_at IS NOT NULL "
            "OR next_try_at IS NOT NULL"
        )

    def _judges_still(self, judging: Judging) -> bool:
        with transaction() as s:
            return oracle_queries.wanted(s, judging.held.id, judging.held.attempt)

    # what the clock asks for

    def expire(self, _: int, __: int) -> Callable[[Session], Told]:
        def work(s: Session) -> Told:
            labelling_queries.expire_claims(s)
            return nothing

        return work

    def supervise(self, i: int, _: int) -> Callable[[Session], Told]:
        """The supervisor saw a process die: its holds are free at once."""

        def work(s: Session) -> Told:
            rounds.free_leases(s, f"host:{i % 3}:")
            return nothing

        return work

    def _told(self, who: uuid.UUID, preference: Preference) -> Told:
        id, version, choice = preference.id, preference.version, preference.choice

        def told() -> None:
            if id not in self.book.said:
                self.said.append((who, id))
            self.book.said.setdefault(id, {})[version] = choice

        return told


def _statement(sql: str, **values: Any) -> Callable[[Session], Told]:
    def work(s: Session) -> Told:
        s.execute(text(sql), values)
        return nothing

    return work
