"""A batch that waits for annotators who do not exist is told apart from one that only waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from app.database import transaction
from app.models import Person, Project, Round
from app.rounds import missing
from app.rounds.missing import Missing
from tests.labelling.conftest import World, make_world


@pytest.fixture
def world(database: Engine) -> Callable[..., World]:
    return make_world


def told(w: World) -> list[Missing]:
    with transaction() as s:
        project = s.get_one(Project, w.project.id)
        return missing.missing(s, project, s.get_one(Round, w.round().id))


def test_enough_people_are_enough(world):
    w = world(3, overlap=2)
    w.person("ann"), w.person("bob")
    w.open()
    assert told(w) == []
    for claimed in w.claim("ann", 3):
        w.prefer("ann", claimed, "left")
    assert told(w) == []


def test_nobody_at_all_is_missing(world):
    w = world(2)
    w.open()
    assert told(w) == [Missing(2, 1, 0, review=False)]


def test_more_answers_a_pair_than_people(world):
    w = world(3, overlap=3)
    w.person("ann"), w.person("bob")
    w.open()
    assert told(w) == [Missing(3, 3, 2, review=False)]
    w.person("cid")
    assert told(w) == []


def test_who_left_is_nobody_to_wait_for(world):
    w = world(1, overlap=2)
    w.person("ann")
    bob = w.person("bob")
    w.open()
    assert told(w) == []
    with transaction() as s:
        s.get_one(Person, bob).active = False
    assert told(w) == [Missing(1, 2, 1, review=False)]


def test_who_has_had_their_share_is_nobody_to_wait_for(world):
    w = world(3, quota=1)
    w.open()
    (claimed,) = w.claim("ann")
    assert told(w) == []  # they hold it, and others may be open to them still
    w.prefer("ann", claimed, "left")
    assert told(w) == [Missing(2, 1, 0, review=False)]


def test_a_disagreement_wants_a_reviewer_who_has_not_answered_it(world):
    w = world(1, overlap=2, adjudicate=True)
    w.open()
    for who, choice in (("ann", "left"), ("bob", "tie")):
        (claimed,) = w.claim(who)
        w.prefer(who, claimed, choice)
    assert told(w) == [Missing(1, 3, 0, review=True)]
    w.person("cid", "reviewer")
    assert told(w) == []


def test_a_paused_project_and_a_round_that_is_over_wait_for_nobody(world):
    w = world(2)
    w.open()
    with transaction() as s:
        s.get_one(Project, w.project.id).paused = True
    assert told(w) == []


def test_somebody_of_the_site_who_has_claimed_counts(world):
    w = world(2)
    w.open()
    w.person("root", None)
    w.claim("root")
    assert told(w) == []
