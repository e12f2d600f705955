"""A project that was deleted is hidden at once and erased by a worker, whatever is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

import app.models as tables
from app.database import Base, transaction
from app.errors import Conflict, Invalid
from app.evaluations import actions as evaluations
from app.evaluations.actions import Asked, Side
from app.models import Event, Policy, Project, Round
from app.projects import deletion
from app.rounds import actions as rounds
from app.settings import get_settings
from tests.worker.conftest import label, make_person, one_round, open_round, policies_of
from worker import retention as work
from worker.device import Device

Make = Callable[..., UUID]


def delete(project_id: UUID, name: str = "tiny") -> None:
    with transaction() as session:
        project = session.get_one(Project, project_id)
        deletion.delete_project(session, project, name, None)


def held(session: Session, project_id: UUID) -> dict[str, int]:
    """How many rows each table has of a project."""
    found = {}
    for table in Base.metadata.sorted_tables:
        if "project_id" in table.c and table.name != "kept_files":  # swept by a rule of their own
            query = select(func.count()).where(table.c.project_id == project_id)
            found[table.name] = session.scalar(query) or 0
    return {name: count for name, count in found.items() if count}


def age(project_id: UUID) -> None:
    with transaction() as session:
        session.execute(
            text("UPDATE projects SET deleted_at = now() - interval '1 hour' WHERE id = :id"),
            {"id": project_id},
        )


def folder(project_id: UUID) -> Path:
    return get_settings().home / "artifacts" / "projects" / str(project_id)


@pytest.fixture
def lived(project: Make, device: Device) -> UUID:
    """A project with a trained policy, its labels, and an evaluation that is over."""
    project_id = project(evals=2)
    person = make_person()
    assert one_round(project_id, device, person).state == "done"
    base, trained = policies_of(project_id)
    with transaction() as session:
        asked = Asked(Side(trained), Side(base))
        made = evaluations.create(session, session.get_one(Project, project_id), asked, None).id
    device.drain()
    label(project_id, person)
    with transaction() as session:
        evaluation = session.get_one(tables.Evaluation, made)
        if evaluation.state == "open":
            evaluations.close(session, evaluation, None)
    return project_id


def test_nothing_of_it_is_left_and_nothing_of_others_goes(
    lived: UUID, project: Make, device: Device
) -> None:
    other = project()
    with transaction() as session:
        before = held(session, other)
        assert {"preferences", "policies", "evaluations", "runs"} <= held(session, lived).keys()
    assert any(folder(lived).rglob("*.safetensors"))
    delete(lived)
    assert work.erase() == 0  # somebody might still be writing
    with transaction() as session:
        assert held(session, lived) == {}
        assert session.scalar(select(func.count()).select_from(tables.TrainingLabel)) == 0
        assert session.scalar(select(func.count()).select_from(tables.PreferenceVersion)) == 0
        assert session.get(Project, lived) is not None
        assert held(session, other) == before
    assert not folder(lived).exists()
    straggler = folder(lived) / "rounds" / "2" / "train-1"
    straggler.mkdir(parents=True)
    (straggler / "late").write_text("a hold that was lost")
    age(lived)
    assert work.erase() == 1
    assert not folder(lived).exists()
    with transaction() as session:
        assert session.get(Project, lived) is None
        told = session.scalars(select(Event).where(Event.kind == "project.deleted")).one()
        assert (told.project_id, told.data) == (None, {"project": str(lived)})
    assert work.erase() == 0


def test_whoever_dies_while_erasing_leaves_work_that_goes_on(
    lived: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete(lived)
    age(lived)
    steps = len(list(deletion.steps(lived)))
    for survived in (1, steps // 2, steps - 1):
        seen = 0

        def die(point: str, after: int = survived) -> None:
            nonlocal seen
            seen += point == "project.erasing"
            if seen >= after:
                raise KeyboardInterrupt

        monkeypatch.setattr(work.faults, "point", die)
        with pytest.raises(KeyboardInterrupt):
            work.erase()
        with transaction() as session:
            assert session.get(Project, lived) is not None
    monkeypatch.undo()
    assert work.erase() == 1
    assert not folder(lived).exists()


def test_it_is_refused_while_a_round_is_under_way_or_by_another_name(project: Make) -> None:
    project_id = project()
    round_id = open_round(project_id)
    with pytest.raises(Conflict, match="Round 1 is still generating"):
        delete(project_id)
    with transaction() as session:
        rounds.cancel(session, session.get_one(Round, round_id))
    with pytest.raises(Invalid, match="not the project's name"):
        delete(project_id, "Tiny")
    delete(project_id)
    with transaction() as session:
        assert session.get_one(Project, project_id).archived


def test_it_is_refused_while_an_evaluation_is_open(project: Make) -> None:
    project_id = project(evals=1)
    (base,) = policies_of(project_id)
    with transaction() as session:
        twin = Policy(project_id=project_id, number=5, kind="adapter", base_model="x", path="none")
        session.add(twin)
        session.flush()
        asked = Asked(Side(base), Side(twin.id))
        made = evaluations.create(session, session.get_one(Project, project_id), asked, None)
    with pytest.raises(Conflict, match="Evaluation 1 is still generating"):
        delete(project_id)
    with transaction() as session:
        evaluations.cancel(session, session.get_one(tables.Evaluation, made.id), None)
    delete(project_id)


def test_a_policys_files_are_under_the_projects_folder(lived: UUID) -> None:
    with transaction() as session:
        paths = session.scalars(
            select(Policy.path).where(Policy.project_id == lived, Policy.path.is_not(None))
        ).all()
    assert paths
    assert all(path and path.startswith(deletion.folder_of(lived) + "/") for path in paths)
