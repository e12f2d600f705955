"""Reviewers read the disagreements that wait, and their answer decides."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.database import transaction
from app.errors import Conflict, Invalid, NotFound, Problem
from app.labelling import reviewing
from app.labelling.actions import Answer
from app.labelling.models import Preference
from app.people.access import Actor
from app.people.models import Person
from app.projects.models import Project
from app.rounds.models import Round
from app.rounds.training_set import training_set
from tests.labelling.test_adjudication import disagree


def disputed(world: Any, **settings: Any) -> Any:
    """A world of one pair on which ann and bob disagree, with two reviewers."""
    w = world(1, overlap=2, adjudicate=True, **settings)
    for who in ("rev", "vic"):
        w.person(who, "reviewer")
    w.open()
    disagree(w)
    return w


def seen(w: Any, who: str) -> list[reviewing.Disagreement]:
    with transaction() as s:
        actor = Actor(s.get_one(Person, w.person(who)), "annotator")
        return reviewing.waiting(s, s.get_one(Project, w.project.id), actor, 10)


def decide(w: Any, who: str, pair: uuid.UUID, choice: str, **more: Any) -> Preference:
    with transaction() as s:
        actor = Actor(s.get_one(Person, w.person(who)), "annotator")
        project = s.get_one(Project, w.project.id)
        return reviewing.decide(s, project, pair, actor, Answer(choice, **more))


def test_a_reviewer_reads_what_was_said_by_the_sides_that_they_see(world: Any) -> None:
    w = disputed(world)
    (one,) = seen(w, "rev")
    assert {one.left, one.right} == {"a0", "b0"}
    assert one.left == ("a0" if one.left_is == "a" else "b0")
    assert sorted(said.choice for said in one.said) == ["left", "right"]
    assert one.why_not is None


@pytest.mark.parametrize("choice", ["left", "right"])
def test_what_the_reviewer_says_is_what_trains(world: Any, choice: str) -> None:
    w = disputed(world)
    (one,) = seen(w, "rev")
    preference = decide(w, "rev", one.pair, choice)
    assert preference.review
    assert preference.left_is == one.left_is
    assert w.round().state == "training"
    with transaction() as s:
        (row,) = training_set(s, s.get_one(Round, w.round().id))
    shown = one.left if choice == "left" else one.right
    assert row.p == (1.0 if shown == "a0" else 0.0)
    assert seen(w, "vic") == []


def test_what_is_decided_is_decided_once_however_many_say_so_at_once(world: Any) -> None:
    w = disputed(world)
    (one,) = seen(w, "rev")

    def say(who: str) -> str:
        try:
            decide(w, who, one.pair, "left")
        except Conflict:
            return "conflict"
        return "decided"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(say, ("rev", "vic"))) == ["conflict", "decided"]


def test_nobody_decides_where_nobody_disagrees(world: Any) -> None:
    w = world(1, overlap=2, adjudicate=True)
    w.person("rev", "reviewer")
    w.open()
    (pair,) = w.pairs("open")
    with pytest.raises(Conflict, match="Nobody has to decide"):
        decide(w, "rev", pair.id, "left")
    with pytest.raises(NotFound):
        decide(w, "rev", uuid.uuid4(), "left")


def test_nobody_settles_a_disagreement_of_their_own(world: Any) -> None:
    w = world(1, overlap=2, adjudicate=True)
    w.person("ann", "reviewer")
    w.open()
    disagree(w)
    (one,) = seen(w, "ann")
    assert one.why_not == reviewing.OWN
    with pytest.raises(Conflict, match="yourself"):
        decide(w, "ann", one.pair, "left")


def test_a_pair_in_another_reviewers_hand_waits_until_their_time_is_up(world: Any) -> None:
    w = disputed(world)
    (held,) = w.claim("rev")
    (one,) = seen(w, "vic")
    assert one.why_not == reviewing.TAKEN
    with pytest.raises(Conflict, match="in hand"):
        decide(w, "vic", one.pair, "left")
    w.expire(held)
    assert decide(w, "vic", one.pair, "left").review


def test_a_pair_in_ones_own_hand_is_decided_by_the_sides_it_was_claimed_with(world: Any) -> None:
    w = disputed(world)
    (held,) = w.claim("rev")
    (one,) = seen(w, "rev")
    preference = decide(w, "rev", one.pair, "left")
    assert preference.left_is == held.claim.left_is == one.left_is


def test_a_rationale_is_asked_for_where_the_project_wants_one(world: Any) -> None:
    w = disputed(world, require_rationale=True)
    (one,) = seen(w, "rev")
    with pytest.raises(Invalid) as caught:
        decide(w, "rev", one.pair, "left")
    assert caught.value.extra["errors"][0]["field"] == "rationale"
    assert decide(w, "rev", one.pair, "left", rationale="It answers.").rationale == "It answers."


ASKED = [
    {
        "name": "topic",
        "title": "Topic?",
        "kind": "single",
        "options": ["sea", "sky"],
        "required": True,
    },
    {"name": "care", "title": "How careful?", "kind": "rating", "scale": 5, "required": False},
]


def test_what_the_project_asks_of_people_it_asks_of_reviewers(world: Any) -> None:
    w = disputed(world, questions=ASKED)
    (one,) = seen(w, "rev")
    for said, field in ((None, "topic"), ({"topic": "mud"}, "topic"), ({"dirt": "x"}, "dirt")):
        with pytest.raises(Invalid) as caught:
            decide(w, "rev", one.pair, "left", answers=said)
        assert f"answers.{field}" in {wrong["field"] for wrong in caught.value.extra["errors"]}
    kept = decide(w, "rev", one.pair, "left", answers={"care": 4, "topic": "sky"})
    assert kept.answers == {"topic": "sky", "care": 4}


def test_sides_are_even_over_pairs_and_stay() -> None:
    me = uuid.uuid4()
    ids = [uuid.uuid4() for _ in range(2_000)]
    sides = [reviewing.side_for(one, me) for one in ids]
    assert 900 < sides.count("a") < 1_100
    assert sides == [reviewing.side_for(one, me) for one in ids]


def test_without_adjudication_nothing_waits(world: Any) -> None:
    w = world(1, overlap=2)
    w.person("rev", "reviewer")
    w.open()
    disagree(w)
    assert seen(w, "rev") == []
    with pytest.raises(Problem):
        decide(w, "rev", uuid.uuid4(), "left")
