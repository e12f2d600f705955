"""The command line: people and keys, exit codes, errors that name the option."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.people.access import actor_of_key
from app.people.models import Membership, Person
from app.projects.actions import create_project


def _run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
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
    ran = _run("doctor", ACTIVEDPO_API_KEY="short", ACTIVEDPO_HOME=str(tmp_path))
    assert ran.returncode == 2
    assert "ACTIVEDPO_API_KEY" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_a_stack_commands_say_how_to_start_one(tmp_path: Path) -> None:
    ran = _run(
        "user", "add", "a@b.c", ACTIVEDPO_HOME=str(tmp_path / "none"), ACTIVEDPO_DATABASE_URL=""
    )
    assert ran.returncode == 3
    assert "activedpo up" in ran.stderr
    assert not (tmp_path / "none").exists()
