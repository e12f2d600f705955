"""``make demo ORACLE=sentiment``: the seeded project labels itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.database import transaction
from app.demo import model, seed
from app.errors import Invalid
from app.models import Oracle, Person, Project, Prompt
from app.settings import get_settings


@pytest.fixture(autouse=True)
def prepared(database: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(model, "fetch", lambda _: None)
    with transaction() as s:
        s.add(Person(email="admin@example.org", role="admin"))
    yield
    get_settings.cache_clear()


def prepare(home: Path, monkeypatch: pytest.MonkeyPatch, oracle: str | None) -> list[Oracle]:
    (home / "run").mkdir(exist_ok=True)
    if oracle is not None:
        monkeypatch.setenv("ORACLE", oracle)
    get_settings.cache_clear()
    seed.prepare(home)
    with transaction() as s:
        return list(s.scalars(select(Oracle).where(Oracle.state != "detached")))


def test_without_it_people_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepare(tmp_path, monkeypatch, None) == []


def test_with_it_the_demo_runs_by_itself_also_when_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = prepare(tmp_path, monkeypatch, "sentiment")
    assert (first.kind, first.mode, first.state) == ("sentiment", "alone", "active")
    (again,) = prepare(tmp_path, monkeypatch, "sentiment")
    assert again.id == first.id
    with transaction() as s:
        project = s.scalars(select(Project)).one()
        assert project.judge == {"kind": "sentiment"}
        assert project.batch_size == 32
        counts = dict(s.execute(select(Prompt.split, func.count()).group_by(Prompt.split)).all())
    assert counts["eval"] >= 64, "so that the win-rate's interval is narrow enough to see a climb"
    assert counts["train"] > counts["eval"]


def test_a_kind_that_needs_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="ORACLE=openai"):
        prepare(tmp_path, monkeypatch, "openai")
