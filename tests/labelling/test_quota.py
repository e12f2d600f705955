"""Quotas, pauses, and going back to an earlier policy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from app.database import transaction
from app.errors import Conflict, NotFound
from app.labelling import actions as labelling
from app.models import Event, Policy, Project
from app.oracles import actions as oracles
from app.oracles import queries as oracle_queries
from app.oracles.schema import Length
from app.policies.actions import make_current
from app.projects import actions as projects
from app.rounds import actions as rounds
from tests.labelling.conftest import World


def change(world: World, **settings: Any) -> None:
    with transaction() as s:
        projects.change_project(s, s.get_one(Project, world.project.id), settings, None)


def test_nobody_gets_more_than_their_quota_and_skips_do_not_count(
    world: Callable[..., World],
) -> None:
    w = world(8, quota=3)
    w.open()
    held = w.claim("ann", 8)
    assert len(held) == 3
    assert w.claim("ann", 1) == []
    w.prefer("ann", held[0], "left")
    w.prefer("ann", held[1], "skip")
    assert len(w.claim("ann", 8)) == 1
    w.release("ann", held[2])
    assert len(w.claim("ann", 8)) == 1
    assert len(w.claim("ben", 8)) == 3


def test_a_quota_of_a_round_begins_anew_with_the_next(world: Callable[..., World]) -> None:
    w = world(6, batch_size=3, quota_per_round=2, quota=3)
    first = w.open()
    for claimed in w.claim("ann", 3):
        w.prefer("ann", claimed, "left")
    w.act(rounds.cancel, first)
    w.open()
    assert len(w.claim("ann", 3)) == 1


def test_an_undone_answer_gives_its_place_back(world: Callable[..., World]) -> None:
    w = world(4, quota=1)
    w.open()
    (held,) = w.claim("ann", 2)
    said = w.prefer("ann", held, "left")
    assert w.claim("ann") == []
    again = w.undo("ann", said)
    w.release("ann", again)
    assert len(w.claim("ann", 2)) == 1


def test_two_tabs_at_once_share_one_quota(world: Callable[..., World]) -> None:
    w = world(40, quota=5)
    w.person("ann")
    w.open()
    got: list[int] = []
    gate = threading.Barrier(4)

    def claim() -> None:
        gate.wait()
        got.append(len(w.claim("ann", 5)))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 5


def test_who_has_had_their_share_keeps_no_skipped_pair_waiting(
    world: Callable[..., World],
) -> None:
    w = world(3, batch_size=2, quota=1)
    w.open()
    (held,) = w.claim("ann", 1)
    w.prefer("ann", held, "left")
    (held,) = w.claim("ben", 1)
    w.prefer("ben", held, "skip")  # ann cannot have it, and ben does not want it
    assert len(w.pairs("dropped")) == 1
    assert len(w.claim("ben", 1)) == 1


def test_a_paused_project_gives_nothing_out_and_takes_what_is_in_hand(
    world: Callable[..., World],
) -> None:
    w = world(4)
    w.open()
    (held,) = w.claim("ann")
    change(w, paused=True)
    assert w.claim("ann") == []
    assert w.claim("ben", 4) == []
    w.prefer("ann", held, "left")
    with transaction() as s:
        project = s.get_one(Project, w.project.id)
        assert labelling.waiting_for_others(s, project, w.person("ann")) == 0
    change(w, paused=False)
    assert len(w.claim("ann", 4)) == 3
    with transaction() as s:
        query = select(Event).where(Event.kind == "project.changed").order_by(Event.id)
        assert [event.data["paused"] for event in s.scalars(query)] == [True, False]


def test_an_oracle_rests_while_the_project_is_paused_and_has_no_quota(
    world: Callable[..., World],
) -> None:
    w = world(4, quota=1)
    w.open()
    with transaction() as s:
        project = s.get_one(Project, w.project.id)
        oracle = oracles.attach(s, project, Length(kind="length"))
        id, person = oracle.id, oracle.person_id
    change(w, paused=True)
    with transaction() as s:
        assert not oracle_queries.has_work(s, id)
    change(w, paused=False)
    with transaction() as s:
        assert oracle_queries.has_work(s, id)
        assert len(labelling.claim_pairs(s, s.get_one(Project, w.project.id), person, 4)) == 4


def test_the_next_round_begins_with_the_policy_one_went_back_to(
    world: Callable[..., World],
) -> None:
    w = world(2, batch_size=1)
    ann = w.person("ann", "admin")
    with transaction() as s:
        project = s.get_one(Project, w.project.id)
        base = project.policy_id
        facts = {"kind": "adapter", "base_model": "base", "path": "somewhere"}
        later = Policy(project_id=project.id, number=1, **facts)
        s.add(later)
        s.flush()
        project.policy_id = later.id
        assert base is not None
        make_current(s, project, base, ann)
        make_current(s, project, base, ann)  # twice is once
    round = w.open()
    assert round.policy_in_id == base
    with transaction() as s:
        (event,) = s.scalars(select(Event).where(Event.kind == "policy.made_current"))
        assert (event.person_id, event.data["number"], event.data["before"]) == (ann, 0, 1)
    with transaction() as s, pytest.raises(Conflict, match="still labelling"):
        make_current(s, s.get_one(Project, w.project.id), later.id, ann)


def test_a_policy_of_another_project_is_none_of_this_one(world: Callable[..., World]) -> None:
    w, other = world(1), world(1)
    assert other.project.policy_id is not None
    with transaction() as s, pytest.raises(NotFound):
        make_current(s, s.get_one(Project, w.project.id), other.project.policy_id, None)
