"""People claim, answer, amend, undo, skip and let time run out in any order; the promises hold."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, func, select

from app.database import transaction
from app.errors import Conflict, Gone, NotFound
from app.models import Claim, Pair, Person, Preference, Project, Round, Run, TrainingLabel
from app.rounds import actions as rounds

PEOPLE = ("ann", "bob", "cid")
CHOICES = st.sampled_from(["left", "right", "tie", "both_bad", "skip"])


def machine(make_world):
    """The machine over worlds made by ``make_world``."""

    class Labelling(RuleBasedStateMachine):
        claims = Bundle("claims")
        preferences = Bundle("preferences")

        def __init__(self):
            super().__init__()
            self.world = make_world(9, batch_size=4, overlap=2, overlap_share=0.5, adjudicate=True)
            for name in PEOPLE:
                self.world.person(name, "reviewer" if name == "cid" else "annotator")
            self.world.open()
            self.stored: dict[object, str] = {}  # what was answered 201 and not taken back

        @rule(target=claims, who=st.sampled_from(PEOPLE), count=st.integers(1, 3))
        def claim(self, who, count):
            got = self.world.claim(who, count)
            return (who, got[0]) if got else None

        @rule(target=preferences, held=claims, choice=CHOICES)
        def prefer(self, held, choice):
            if held is None:
                return None
            try:
                preference = self.world.prefer(*held, choice)
            except (Conflict, Gone):
                return None
            self.stored[preference.id] = choice
            return (held[0], preference)

        @rule(said=preferences, choice=CHOICES)
        def amend(self, said, choice):
            if said is None:
                return
            try:
                self.stored[said[1].id] = self.world.amend(*said, choice).choice
            except (Conflict, Gone, NotFound):
                return

        @rule(target=claims, said=preferences)
        def undo(self, said):
            if said is None:
                return None
            try:
                back = self.world.undo(*said)
            except (Conflict, Gone, NotFound):
                return None
            del self.stored[said[1].id]
            return (said[0], back)

        @rule(held=claims)
        def expire(self, held):
            if held is not None:
                self.world.expire(held[1])

        @rule(held=claims)
        def renew(self, held):
            """Reading on: whoever is told that they hold the pair may answer it."""
            if held is None:
                return
            try:
                claim = self.world.renew(*held)
            except (Conflict, Gone):
                return
            assert claim.state == "live"

        @rule(held=claims)
        def release(self, held):
            if held is not None:
                try:
                    self.world.release(*held)
                except Conflict:
                    return

        @rule()
        def next_round(self):
            """A worker that has no model: training is over at once, and a new round opens."""
            round = self.world.round()
            if round.state == "training":
                self.world.act(rounds.cancel, round)
            if self.world.round().state in ("done", "cancelled"):
                try:
                    self.world.open()
                except Conflict:
                    return  # every pair has been asked about

        @invariant()
        def what_was_stored_is_there_once(self):
            with transaction() as s:
                query = select(Preference.id, Preference.choice).where(
                    Preference.deleted_at.is_(None)
                )
                stored = [tuple(row) for row in s.execute(query)]
                assert dict(stored) == self.stored

        @invariant()
        def no_slot_is_held_twice(self):
            with transaction() as s:
                query = select(Claim.pair_id, Claim.slot).where(
                    Claim.state.in_(("live", "answered"))
                )
                held = Counter(tuple(row) for row in s.execute(query))
            assert all(count == 1 for count in held.values())

        @invariant()
        def the_count_of_answered_pairs_is_right(self):
            round = self.world.round()
            if round.state != "labelling":
                return
            with transaction() as s:
                answered = s.scalar(
                    select(func.count())
                    .select_from(Pair)
                    .where(Pair.round_id == round.id, Pair.state == "answered")
                )
            assert round.answered == answered
            assert round.answered < round.needed

        @invariant()
        def every_round_trains_at_most_once_on_labels_that_never_change(self):
            with transaction() as s:
                runs = Counter(s.scalars(select(Run.round_id).where(Run.kind == "train")))
                assert all(count == 1 for count in runs.values())
                trained = set(s.scalars(select(TrainingLabel.round_id)))
                assert set(runs) <= trained
                rows = s.execute(
                    select(TrainingLabel.version, Preference.version, Preference.deleted_at).join(
                        Preference, Preference.id == TrainingLabel.preference_id
                    )
                )
                assert all(fixed == now and gone is None for fixed, now, gone in rows)

        @invariant()
        def one_round_is_open(self):
            with transaction() as s:
                states = s.scalars(select(Round.state)).all()
            assert sum(state not in ("done", "cancelled") for state in states) <= 1

        def teardown(self):
            with transaction() as s:
                s.execute(delete(Project))
                s.execute(delete(Person))

    return Labelling


@pytest.mark.timeout(600)
def test_labelling_keeps_its_promises(world):
    run_state_machine_as_test(
        machine(world),
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
