"""Gold pairs: unseen among the others, never labels, and known to who runs the project."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from app.database import transaction
from app.errors import Conflict, Gone, Invalid, NotFound
from app.labelling import gold as unseen
from app.models import (
    Claim,
    Event,
    GoldPair,
    Pair,
    Person,
    Preference,
    Project,
    Prompt,
    Round,
    TrainingLabel,
)
from app.people.access import Actor
from app.projects import imports
from app.projects.export import export
from app.projects.row import Row
from app.quality import gold, queries
from app.rounds import actions as rounds
from app.rounds.training_set import training_set
from tests.labelling.conftest import World, make_world


def bring(world: World, count: int, answer: str = "a") -> None:
    """Import ``count`` gold pairs."""
    with transaction() as s:
        project = s.get_one(Project, world.project.id)
        given = [
            Row(n, {"prompt": f"Gold {n}", "completion_a": f"a gold {n}",
                    "completion_b": f"b gold {n}", "gold": True, "answer": answer})
            for n in range(1, count + 1)
        ]  # fmt: skip
        outcome = imports.import_pairs(s, project, given)
        assert outcome.gold == count


def is_gold(claimed: Any) -> bool:
    return "gold" in claimed.left


def golden(world: World, who: str, most: int = 40) -> tuple[list[Any], list[Any]]:
    """Claim all there is; gold and the others."""
    claimed = world.claim(who, most)
    return [c for c in claimed if is_gold(c)], [c for c in claimed if not is_gold(c)]


def exported(world: World) -> list[dict[str, Any]]:
    return [json.loads(row) for row in b"".join(export(world.project, "jsonl", False)).splitlines()]


def actor(session: Any, world: World, who: str) -> Actor:
    return Actor(session.get_one(Person, world.person(who)), "admin")


def test_it_takes_the_place_of_some_pairs_and_nobody_gets_one_twice(
    world: Callable[..., World],
) -> None:
    w = world(40, gold_share=0.5, overlap=2)
    bring(w, 6)
    w.open()
    first, others = golden(w, "ann")
    assert 1 <= len(first) <= 6  # of 40 claims that are gold one time in two, six there are
    assert len(first) + len(others) == 40
    for claimed in first + others:
        w.prefer("ann", claimed, "left")
    again, _ = golden(w, "ann")
    assert not {c.claim.pair_id for c in first} & {c.claim.pair_id for c in again}
    theirs, _ = golden(w, "ben")
    assert theirs


def test_no_gold_comes_where_nothing_else_does(world: Callable[..., World]) -> None:
    w = world(2, gold_share=0.5)
    bring(w, 50)
    w.open()
    while held := w.claim("ann"):
        w.prefer("ann", held[0], "left")
    assert w.round().state == "training"
    assert w.claim("ann", 10) == []


def test_a_claim_of_gold_looks_like_any_other(world: Callable[..., World]) -> None:
    w = world(30, gold_share=0.5)
    bring(w, 30)
    w.open()
    claimed = w.claim("ann", 30)
    at = [n for n, c in enumerate(claimed) if is_gold(c)]
    assert at != list(range(30 - len(at), 30))  # anywhere among them
    assert len({c.claim.expires_at for c in claimed}) == 1
    with transaction() as s:
        held = unseen.shuffled_in(
            [(s.get_one(Claim, c.claim.id),) for c in sorted(claimed, key=is_gold)]
        )
    assert len(held) == 30


def test_an_answer_to_gold_may_be_changed_and_undone_until_the_batch_is_complete(
    world: Callable[..., World],
) -> None:
    w = world(30, gold_share=0.5)
    bring(w, 30)
    w.open()
    (one, two, *_), others = golden(w, "ann", 30)
    said = w.prefer("ann", one, "left")
    assert (said.late, said.round_id, said.gold) == (False, w.round().id, True)
    assert w.prefer("ann", one, "left").id == said.id
    with pytest.raises(Conflict):
        w.prefer("ann", one, "right")
    w.amend("ann", said, "tie")
    back = w.undo("ann", said)
    said = w.prefer("ann", back, "right")
    w.release("ann", two)
    assert two.claim.pair_id in {c.claim.pair_id for c in w.claim("ann", 1)}  # it comes back first
    for claimed in others:
        w.prefer("ann", claimed, "left")
    while w.round().state == "labelling":
        for claimed in w.claim("ann", 5):
            w.prefer("ann", claimed, "left")
    with pytest.raises(Conflict, match="complete"):
        w.amend("ann", said, "left")


def test_progress_counts_ones_own_gold_and_the_truth_for_who_runs_it(
    world: Callable[..., World],
) -> None:
    w = world(30, gold_share=0.5)
    bring(w, 30)
    w.open()
    mine, others = golden(w, "ann", 30)
    for claimed in mine[:2] + others[:3]:
        w.prefer("ann", claimed, "left")
    w.person("eve", "owner")
    with transaction() as s:
        round = s.get_one(Round, w.round().id)
        seen = {who: unseen.as_seen_by(s, actor(s, w, who), round) for who in ("ann", "eve")}
        assert (seen["ann"].answered, seen["ann"].progress_done) == (5, 5)
        assert (seen["eve"].answered, round.answered) == (3, 3)
        w.person("ben")
        assert unseen.as_seen_by(s, actor(s, w, "ben"), round).answered == 3
        assert not s.dirty


def test_accuracy_is_told_with_its_interval_and_gold_is_in_no_other_figure(
    world: Callable[..., World],
) -> None:
    w = world(30, gold_share=0.5)
    bring(w, 30, answer="a")
    w.open()
    mine, others = golden(w, "ann", 30)
    for n, claimed in enumerate(mine[:4]):
        a_is_left = claimed.left.startswith("a")
        right, wrong = ("left", "right") if a_is_left else ("right", "left")
        w.prefer("ann", claimed, (right, right, wrong, "skip")[n])
    w.prefer("ann", others[0], "left")
    with transaction() as s:
        (ann,), _ = queries.of_people(s, w.project.id)
        told = ann.view()
    assert (ann.gold.hits, ann.gold.total, ann.habits.labels, ann.habits.skips) == (2, 3, 1, 0)
    assert told["gold"]["share"] == pytest.approx(2 / 3)
    assert told["gold"]["low"] < 2 / 3 < told["gold"]["high"]
    assert len(exported(w)) == 1
    with transaction() as s:
        rows = list(gold.answer_rows(s.execute(gold.answers(w.project.id))))
    assert Counter(row["right"] for row in rows) == {True: 2, False: 1, None: 1}
    with transaction() as s:
        gold.retire(s, s.get_one(Project, w.project.id), mine[0].claim.pair_id, None)
    with transaction() as s:
        assert gold.accuracy(s, w.project.id)[w.person("ann")] == (1, 2)


def test_a_labelled_pair_becomes_gold_and_its_label_stays(world: Callable[..., World]) -> None:
    w = world(2, batch_size=1, gold_share=0.5)
    w.open()
    (held,) = w.claim("ann")
    said = w.prefer("ann", held, "left")
    with transaction() as s:
        project = s.get_one(Project, w.project.id)
        made = gold.mark(s, project, held.claim.pair_id, None, "because", None)
        assert (made.answer, made.source_pair_id) == (said.chosen, held.claim.pair_id)
    with transaction() as s, pytest.raises(Conflict, match="gold already"):
        gold.mark(s, s.get_one(Project, w.project.id), held.claim.pair_id, None, None, None)
    waits = w.pairs("pool")[0]
    with transaction() as s, pytest.raises(Conflict, match="has its labels"):
        gold.mark(s, s.get_one(Project, w.project.id), waits.id, "a", None, None)
    with transaction() as s, pytest.raises(NotFound):
        gold.mark(s, s.get_one(Project, w.project.id), w.project.id, "a", None, None)
    assert len(exported(w)) == 1
    w.act(rounds.cancel, w.round())
    w.open()
    for _ in range(20):  # ann knows the pair: never again
        for claimed in w.claim("ann"):
            assert claimed.claim.pair_id != made.pair_id
            w.release("ann", claimed)
    seen = set()
    for _ in range(60):
        for claimed in w.claim("ben"):
            seen.add(claimed.claim.pair_id)
            w.release("ben", claimed)
    assert made.pair_id in seen


def test_labels_that_differ_name_no_answer(world: Callable[..., World]) -> None:
    w = world(1, overlap=2)
    w.open()
    w.prefer("ann", w.claim("ann")[0], "tie")
    (held,) = w.claim("ben")
    w.prefer("ben", held, "both_bad")
    with transaction() as s, pytest.raises(Invalid, match="do not agree"):
        gold.mark(s, s.get_one(Project, w.project.id), held.claim.pair_id, None, None, None)
    with transaction() as s:
        made = gold.mark(s, s.get_one(Project, w.project.id), held.claim.pair_id, "tie", None, None)
        assert made.answer == "tie"
        kinds = list(s.scalars(select(Event.kind).order_by(Event.id)))
    assert "gold.added" in kinds


def test_rows_that_cannot_be_gold_are_refused_by_field(world: Callable[..., World]) -> None:
    w = world(0)
    pair = {"prompt": "p", "completion_a": "x", "completion_b": "y"}
    given = [
        Row(1, {**pair, "gold": True}),
        Row(2, {**pair, "gold": "perhaps", "answer": "a"}),
        Row(3, {**pair, "gold": "true", "answer": "b", "explanation": "clear"}),
        Row(4, {**pair, "gold": "yes", "answer": "a"}),
        Row(5, {**pair, "completion_a": "y", "gold": True, "answer": "a"}),
        Row(6, {**pair, "gold": "", "answer": "", "completion_a": "z"}),
    ]
    with transaction() as s:
        outcome = imports.import_pairs(s, s.get_one(Project, w.project.id), given)
    assert [(one.line, one.reason.partition(":")[0]) for one in outcome.rejected] == [
        (1, "answer"), (2, "gold"), (5, "completion_a, completion_b"),
    ]  # fmt: skip
    assert (outcome.gold, outcome.added) == (1, 1)
    with transaction() as s:
        assert s.scalars(select(GoldPair.explanation)).all() == ["clear"]


def test_chosen_and_rejected_are_gold_by_the_files_own_verdict(
    world: Callable[..., World],
) -> None:
    w = world(0)
    rows = [Row(1, {"prompt": "p", "chosen": "good", "rejected": "bad"})]
    with transaction() as s:
        outcome = imports.import_pairs(
            s, s.get_one(Project, w.project.id), rows, labels=True, gold=True
        )
        assert (outcome.gold, outcome.labels, outcome.added) == (1, 0, 0)
    with transaction() as s:
        pair, known = s.execute(
            select(Pair, GoldPair).join(GoldPair, GoldPair.pair_id == Pair.id)
        ).one()
        assert {"a": pair.completion_a, "b": pair.completion_b}[known.answer] == "good"
        assert s.scalar(select(func.count(Preference.id))) == 0


def test_a_prompt_of_gold_alone_is_never_sampled(world: Callable[..., World]) -> None:
    from app.rounds.queries import sample_prompts

    w = world(0, source="generated")
    bring(w, 2)
    with transaction() as s:
        project = s.get_one(Project, w.project.id)
        assert sample_prompts(s, project, 5, 0) == []
        imports.import_prompts(s, project, [Row(1, {"prompt": "Gold 1"})])
        (found,) = sample_prompts(s, project, 5, 0)
        assert found.content == "Gold 1"
        assert s.scalar(select(func.count(Prompt.id))) == 2


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "ben"]),
        st.sampled_from(["left", "right", "tie", "both_bad", "skip", "release", "expire", "undo"]),
        st.integers(1, 3),
    ),
    max_size=40,
)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_gold_never_trains_and_m_counts_labels_alone(database: Any, steps: Any) -> None:
    with transaction() as s:
        for table in (Project, Person):  # each example begins with nothing
            s.execute(delete(table))
    w = make_world(6, batch_size=3, gold_share=0.5)
    bring(w, 5)
    w.open()
    said: list[tuple[str, Preference]] = []
    for who, what, count in steps:
        if w.round().state != "labelling":
            with suppress(Conflict):  # everything was skipped: it is done already
                w.act(rounds.cancel, w.round())
            try:
                w.open()
            except Conflict:
                break
        try:
            for claimed in w.claim(who, count):
                if what == "release":
                    w.release(who, claimed)
                elif what == "expire":
                    w.expire(claimed)
                elif what != "undo":
                    said.append((who, w.prefer(who, claimed, what)))
            if what == "undo" and said:
                w.undo(*said.pop())
        except (Conflict, Gone, NotFound):
            pass
        holds(w)


def holds(w: World) -> None:
    """What must hold at every moment."""
    with transaction() as s:
        known = set(s.scalars(select(GoldPair.pair_id).where(GoldPair.project_id == w.project.id)))
        mine = Preference.project_id == w.project.id
        for pair_id, flag in s.execute(select(Preference.pair_id, Preference.gold).where(mine)):
            assert flag == (pair_id in known)
        trained = select(Preference.pair_id).join(
            TrainingLabel, TrainingLabel.preference_id == Preference.id
        )
        assert not known & set(s.scalars(trained.where(mine)))
        round = s.scalars(
            select(Round).where(Round.project_id == w.project.id).order_by(Round.number.desc())
        ).first()
        assert round is not None
        assert not known & {t.pair.id for t in training_set(s, round)}
        answered = s.scalars(
            select(Pair.id).where(Pair.round_id == round.id, Pair.state == "answered")
        ).all()
        if round.state == "labelling":
            assert round.answered == len(answered) < round.needed
        else:
            assert round.answered >= round.needed
        states = Counter(
            (c.pair_id, c.person_id)
            for c in s.scalars(select(Claim).where(Claim.project_id == w.project.id))
            if c.state in ("live", "answered", "skipped")
        )
        assert not states or max(states.values()) == 1
        golden = {str(id) for id in known}
    assert not golden & {row["pair"] for row in exported(w)}
