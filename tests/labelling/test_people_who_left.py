"""Labels of who was deactivated, taken out or deleted stay, and every figure works (doccano
fc79f6dc: a removed person's labels broke the metrics)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from app.database import transaction
from app.labelling.models import Preference
from app.oracles.queries import by_oracle
from app.people import actions, groups
from app.people.models import Person
from app.privacy import actions as privacy
from app.projects.models import Project
from app.quality import queries
from app.rounds.models import TrainingLabel


def _deactivated(world: Any, who: str) -> None:
    with transaction() as s:
        actions.change_person(s, s.get_one(Person, world.person(who)), active=False)


def _taken_out(world: Any, who: str) -> None:
    with transaction() as s:
        project = s.get_one(Project, world.project.id)
        actions.remove_member(s, project, world.person(who))


def _deleted(world: Any, who: str) -> None:
    with transaction() as s:
        privacy.delete_person(s, s.get_one(Person, world.person(who)), "keep", None)


def _group_gone(world: Any, who: str) -> None:
    """They were here by a group, which is deleted."""
    with transaction() as s:
        group = groups.add_group(s, "Harbour", None)
        person = s.get_one(Person, world.person(who))
        groups.put_in(s, group, person, None)
        groups.let_in(s, s.get_one(Project, world.project.id), group, "annotator", None)
        actions.remove_member(s, s.get_one(Project, world.project.id), person.id)
        groups.delete_group(s, group, None)


def labelled(world: Any) -> dict[str, Any]:
    """A batch on which two people agree twice and disagree once; the quality then."""
    world.open()
    for who in ("ann", "bob"):
        for held in world.claim(who, 3):
            a_is = "left" if held.claim.left_is == "a" else "right"
            other = "right" if a_is == "left" else "left"
            last = held.prompt == "Prompt 2" and who == "bob"
            world.prefer(who, held, other if last else a_is)
    return quality(world)


def quality(world: Any) -> dict[str, Any]:
    with transaction() as s:
        return queries.quality_view(s, world.project.id)


def figures(view: dict[str, Any]) -> list[Any]:
    """What must not move: everything but the names."""
    people = [
        {key: value for key, value in one.items() if key not in ("name", "email")}
        for one in sorted(view["annotators"], key=lambda one: str(one["person"]))
    ]
    between = [(one["pairs"], one["percent"], one["kappa"]) for one in view["between"]]
    return [view["rounds"], people, between]


@pytest.mark.parametrize("leave", [_deactivated, _taken_out, _deleted, _group_gone])
def test_who_leaves_takes_no_label_and_no_figure_along(
    world: Callable[..., Any], leave: Callable[[Any, str], None]
) -> None:
    w = world(3, overlap=2)
    before = labelled(w)
    leave(w, "bob")
    assert figures(quality(w)) == figures(before)
    with transaction() as s:
        assert len(s.scalars(select(TrainingLabel.preference_id)).all()) == 6
        assert (
            len(s.scalars(select(Preference.id).where(Preference.deleted_at.is_(None))).all()) == 6
        )


def test_an_oracle_that_was_taken_out_is_an_oracle_in_every_figure(
    world: Callable[..., Any],
) -> None:
    w = world(2, overlap=2)
    w.person("bob", "oracle")
    w.open()
    for who in ("ann", "bob"):
        for held in w.claim(who, 2):
            w.prefer(who, held, "left")
    before = quality(w)
    _taken_out(w, "bob")
    assert figures(quality(w)) == figures(before)
    with transaction() as s:
        by = dict(s.execute(select(Preference.person_id, by_oracle(Preference))).all())
    assert by == {w.person("ann"): False, w.person("bob"): True}
