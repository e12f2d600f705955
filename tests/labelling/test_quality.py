"""Figures of labels, and labels that are set aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from app.database import transaction
from app.errors import Conflict, Invalid, NotFound
from app.models import Event, Project, Round
from app.projects.export import export
from app.quality import actions, queries
from app.rounds import actions as rounds
from app.rounds.training_set import training_set
from tests.labelling.conftest import World


def say(world: World, who: str, wanted: str, count: int) -> None:
    """Claim and answer ``count`` pairs: a completion's letter, or a choice."""
    for claimed in world.claim(who, count):
        left = claimed.left[0]
        choice = {left: "left", "b" if left == "a" else "a": "right"}.get(wanted, wanted)
        world.prefer(who, claimed, choice, seconds=3.0)


def aside(world: World, who: str, reason: str = "Answers without reading") -> None:
    with transaction() as s:
        project = s.get_one(Project, world.project.id)
        actions.set_aside(s, project, world.person(who), reason, None)


def back(world: World, who: str) -> None:
    with transaction() as s:
        actions.take_back(s, s.get_one(Project, world.project.id), world.person(who), None)


def trained(round: Round) -> dict[str, float]:
    """p of each pair that the round trains on, by its completion a."""
    with transaction() as s:
        return {t.pair.completion_a: t.p for t in training_set(s, s.get_one(Round, round.id))}


def exported(world: World) -> list[dict[str, Any]]:
    chunks = b"".join(export(world.project, "jsonl", False))
    return [json.loads(line) for line in chunks.splitlines()]


def test_agreement_habits_and_times_are_told(world: Callable[..., World]) -> None:
    w = world(4, overlap=2)
    round = w.open()
    say(w, "ann", "a", 4)
    say(w, "ben", "a", 2)
    say(w, "ben", "b", 1)
    say(w, "ben", "skip", 1)
    with transaction() as s:
        (told,) = queries.of_rounds(s, w.project.id)
        people, (between,) = queries.of_people(s, w.project.id)
    assert (told.id, told.agreement.pairs, told.habits.labels) == (round.id, 3, 7)
    assert told.agreement.percent == pytest.approx(2 / 3)
    assert told.habits.left.total == 7
    ann, ben = people
    assert (ann.name, ann.habits.labels, ann.habits.skips, ann.habits.seconds) == ("ann", 4, 0, 3)
    assert (ben.habits.labels, ben.habits.skips) == (3, 1)
    assert (ann.agrees.hits, ann.agrees.total) == (2, 3)
    assert (between.pairs, between.percent) == (3, pytest.approx(2 / 3))
    assert {between.one, between.other} == {"ann", "ben"}


def test_a_side_that_is_always_chosen_is_noticed(world: Callable[..., World]) -> None:
    w = world(24)
    w.open()
    say(w, "ann", "left", 24)
    with transaction() as s:
        (ann,), _ = queries.of_people(s, w.project.id)
    assert ann.habits.left.leans
    assert ann.habits.longer.total == 0  # equally long: nothing to learn
    assert not ann.habits.longer.leans


def test_labels_set_aside_leave_the_next_training_and_the_export(
    world: Callable[..., World],
) -> None:
    w = world(4, overlap=2)
    w.open()
    say(w, "ann", "a", 4)
    say(w, "ben", "b", 3)
    aside(w, "ben")
    assert {row["annotator"] for row in exported(w)} == {"ann@example.org"}
    say(w, "ben", "b", 1)
    assert set(trained(w.round()).values()) == {1.0}
    with transaction() as s:
        (told,) = queries.of_rounds(s, w.project.id)
        people, _ = queries.of_people(s, w.project.id)
    assert (told.habits.labels, told.agreement.pairs) == (4, 0)
    assert [(one.name, one.set_aside) for one in people] == [
        ("ann", None),
        ("ben", "Answers without reading"),
    ]


def test_what_a_past_round_trained_on_stays_as_it_was(world: Callable[..., World]) -> None:
    w = world(4, batch_size=2, overlap=2)
    first = w.open()
    say(w, "ann", "a", 2)
    say(w, "ben", "b", 2)
    assert set(trained(first).values()) == {0.5}
    w.act(rounds.cancel, first)
    aside(w, "ben")
    assert set(trained(first).values()) == {0.5}
    second = w.open()
    say(w, "ann", "a", 2)
    say(w, "ben", "b", 2)
    assert set(trained(second).values()) == {1.0}
    w.act(rounds.cancel, second)
    back(w, "ben")
    assert len(exported(w)) == 8


def test_an_answer_that_is_set_aside_is_fixed_with_its_batch(world: Callable[..., World]) -> None:
    w = world(1)
    w.open()
    aside_first = w.claim("ben")[0]
    aside(w, "ben")
    said = w.prefer("ben", aside_first, "left")
    assert w.round().state == "done"  # nothing was left to train on
    with pytest.raises(Conflict):
        w.amend("ben", said, "right")


def test_the_reason_is_logged_and_wanted(world: Callable[..., World]) -> None:
    w = world(1)
    w.person("ann")
    with pytest.raises(Invalid):
        aside(w, "ann", "  ")
    aside(w, "ann", "Asked for it")
    back(w, "ann")
    back(w, "ann")
    w.person("stranger", role=None)
    with pytest.raises(NotFound):
        aside(w, "stranger")
    with transaction() as s:
        logged = [
            (e.kind, e.data) for e in s.scalars(select(Event).order_by(Event.id))
            if e.kind.startswith("labels.")
        ]  # fmt: skip
    ann = str(w.person("ann"))
    assert logged == [
        ("labels.set_aside", {"annotator": ann, "reason": "Asked for it"}),
        ("labels.taken_back", {"annotator": ann}),
    ]
