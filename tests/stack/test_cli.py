"""The command line: people and keys, exit codes, errors that name the option."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.cli import main
from app.labelling.models import Claim, Preference
from app.people.access import actor_of_key
from app.people.actions import add_person
from app.people.models import Membership, Person
from app.projects.actions import create_project
from app.projects.models import Pair, Prompt
from app.rounds.models import Round


class Ran(NamedTuple):
    """What a command ended with."""

    returncode: int
    stdout: str
    stderr: str


def _run(*arguments: str) -> Ran:
    """Run a command in this process: starting Python anew for each would take minutes."""
    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["activedpo", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    out.flush()
    code = ended.value.code
    return Ran(code if isinstance(code, int) else 0, out.buffer.getvalue().decode(), err.getvalue())


def _start(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )


def test_a_user_gets_a_password_and_a_role_in_the_project(db: Session) -> None:
    project = create_project(db, {"name": "letters", "base_model": "any"}, None)
    db.commit()
    added = _run("user", "add", "Ann@example.com", "--role", "reviewer", "--project", "letters")
    assert added.returncode == 0, added.stderr
    assert len(added.stdout.splitlines()[-1]) >= 12
    person = db.scalars(select(Person)).one()
    assert (person.email, person.role) == ("ann@example.com", "member")
    assert db.get_one(Membership, (project.id, person.id)).role == "reviewer"


def test_a_key_is_the_last_line_alone_and_works(db: Session) -> None:
    _run("user", "add", "bob@example.com", "--role", "admin")
    made = _run("key", "add", "bob@example.com", "--scope", "admin", "--name", "script")
    assert made.returncode == 0, made.stderr
    actor = actor_of_key(db, made.stdout.splitlines()[-1])
    assert (actor.person.email, actor.scope, actor.is_admin) == ("bob@example.com", "admin", True)


def test_json_holds_the_same(database: Engine) -> None:
    added = _run("user", "add", "eve@example.com", "--password", "a long password", "--json")
    shown = json.loads(added.stdout)
    assert (shown["email"], shown["password"]) == ("eve@example.com", "a long password")
    assert json.loads(_run("key", "add", "eve@example.com", "--json").stdout)["scope"] == (
        "annotator"
    )


def test_errors_name_what_was_wrong(database: Engine) -> None:
    for arguments, code, part in (
        (("user", "add", "ann@example.com", "--role", "king"), 2, "--role king"),
        (("user", "add", "ann@example.com", "--role", "owner"), 2, "--project"),
        (("user", "add", "ann@example.com", "--project", "none"), 1, "--project none"),
        (("user", "add", "no address"), 1, "email"),
        (("user", "add", "ann@example.com", "--password", "short"), 1, "password"),
        (("key", "add", "nobody@example.com"), 1, "nobody@example.com"),
        (("key", "add"), 2, "email"),
    ):
        ran = _run(*arguments)
        assert (ran.returncode, part in ran.stderr) == (code, True), (arguments, ran.stderr)
        assert "Traceback" not in ran.stderr


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    ran = _start("doctor", ACTIVEDPO_API_KEY="short", ACTIVEDPO_HOME=str(tmp_path))
    assert ran.returncode == 2
    assert "ACTIVEDPO_API_KEY" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_a_stack_commands_say_how_to_start_one(tmp_path: Path) -> None:
    ran = _start(
        "user", "add", "a@b.c", ACTIVEDPO_HOME=str(tmp_path / "none"), ACTIVEDPO_DATABASE_URL=""
    )
    assert ran.returncode == 3
    assert "activedpo up" in ran.stderr
    assert not (tmp_path / "none").exists()


def test_prompts_come_in_and_refused_lines_are_named(db: Session, tmp_path: Path) -> None:
    project = create_project(db, {"name": "letters", "base_model": "any"}, None)
    db.commit()
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "one"}\n{"prompt": \n{"prompt": "one"}\n{"prompt": "two"}\n')
    ran = _run("import", "letters", str(file), "--split", "eval")
    assert ran.returncode == 1
    assert ran.stdout == "2 added, 1 duplicates\n"
    assert "line 2" in ran.stderr
    stored = db.scalars(select(Prompt).where(Prompt.project_id == project.id)).all()
    assert {(prompt.content, prompt.split) for prompt in stored} == {
        ("one", "eval"),
        ("two", "eval"),
    }


def test_pairs_come_in_and_labels_go_out(db: Session, tmp_path: Path) -> None:
    project = create_project(db, {"name": "pairs", "base_model": "any", "chat": "off"}, None)
    ann = add_person(db, "ann@example.com")
    db.commit()
    file = tmp_path / "pairs.csv"
    file.write_text("prompt,completion_a,completion_b\nhi,hello,go away\n")
    assert _run("import", str(project.id), str(file), "--pairs").returncode == 0
    pair = db.scalars(select(Pair)).one()
    turn = Round(project_id=project.id, number=1, needed=1, state="done")
    db.add(turn)
    db.flush()
    mine = {"project_id": project.id, "round_id": turn.id, "pair_id": pair.id, "person_id": ann.id}
    claim = Claim(**mine, slot=0, left_is="a", state="answered", expires_at=dt.datetime.now(dt.UTC))
    db.add(claim)
    db.flush()
    db.add(Preference(**mine, claim_id=claim.id, choice="right", chosen="b", left_is="a"))
    db.commit()
    out = tmp_path / "labels.jsonl"
    ran = _run("export", "pairs", "--format", "trl", "--out", str(out))
    assert ran.returncode == 0, ran.stderr
    assert json.loads(out.read_text()) == {
        "prompt": "hi",
        "chosen": "go away",
        "rejected": "hello",
    }
    assert _run("export", "pairs", "--format", "trl").stdout == out.read_text()


def test_a_file_of_another_kind_is_wrong_usage(database: Engine, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("one")
    for arguments, part in (
        (("import", "any", str(file)), "prompts.txt"),
        (("import", "any", str(tmp_path / "none.jsonl")), "none.jsonl"),
        (("export", "any", "--format", "xml"), "--format xml"),
    ):
        ran = _run(*arguments)
        assert (ran.returncode, part in ran.stderr) == (2, True), ran.stderr
