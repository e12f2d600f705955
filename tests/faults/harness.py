"""A real stack that faults strike, and the promises that hold of it afterwards."""

from __future__ import annotations

import hashlib
import os
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from app.backup.database import libpq
from tests.driver import Visitor, wait_until

QUICK = {
    "ACTIVEDPO_LEASE_SECONDS": "8",
    "ACTIVEDPO_HEARTBEAT_SECONDS": "1",
    "ACTIVEDPO_RECONCILE_SECONDS": "2",
    "ACTIVEDPO_DTYPE": "float32",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Faults:
    """The folder that the stack's processes look into: see :mod:`app.faults`."""

    folder: Path
    armed: list[str] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """What the stack is started with."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return {**QUICK, "ACTIVEDPO_FAULTS": str(self.folder)}

    def kill_at(self, name: str) -> None:
        """The next process at this point kills itself."""
        (self.folder / f"{name}.killed").unlink(missing_ok=True)
        (self.folder / f"{name}.kill").touch()
        self.armed.append(name)

    def hold_at(self, name: str) -> None:
        """The next process at this point waits for :meth:`let_go`."""
        (self.folder / f"{name}.hold").touch()

    def held(self, name: str, seconds: float = 90) -> None:
        """Wait until a process is at the point."""
        wait_until(lambda: (self.folder / f"{name}.held").exists(), f"a process at {name}", seconds)

    def let_go(self, name: str) -> None:
        """Let the process at this point go on."""
        (self.folder / f"{name}.held").unlink()

    def struck(self, name: str) -> bool:
        """Whether the kill came about."""
        return (self.folder / f"{name}.killed").exists()

    def all_struck(self) -> None:
        """A fault that never struck has tested nothing."""
        assert [name for name in self.armed if not self.struck(name)] == []


def pid_of(stack: Any, part: str) -> int:
    """Process id of a part."""
    pid: int = wait_until(lambda: stack.state["pids"].get(part), f"{part} to run")
    return pid


def kill(stack: Any, part: str) -> int:
    """``kill -9`` of one part; its process id."""
    pid = pid_of(stack, part)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return pid


def back(stack: Any, part: str, old: int, seconds: float = 60) -> None:
    """Wait until another process does the part's work."""

    def another() -> bool:
        with suppress(OSError, ValueError):
            return bool(stack.state["pids"].get(part, old) != old)
        return False

    wait_until(another, f"a new {part}", seconds)


def ask(stack: Any, query: str, *values: Any) -> list[Any]:
    """Rows of the stack's database."""
    with psycopg.connect(libpq(stack.state["database_url"]), connect_timeout=20) as connection:
        return connection.execute(query, values).fetchall()  # type: ignore[call-overload]


def check_promises(stack: Any, visitor: Visitor, project: str, said: dict[str, str]) -> None:
    """What must hold once every round of the project is done.

    ``said``: the preferences that were answered 201 or 200, by id.
    """
    _every_label_once(visitor, project, said)
    check_rounds(stack, project)


def check_rounds(stack: Any, project: str) -> None:
    """Of these promises what needs nobody's account of the labels."""
    _each_round_trained_once(stack, project)
    _policies_are_on_disk(stack, project)
    _nothing_is_stuck(stack, project)


def _every_label_once(visitor: Visitor, project: str, said: dict[str, str]) -> None:
    stored = visitor.everything(f"/projects/{project}/preferences")
    assert {p["id"]: p["choice"] for p in stored} == said
    assert max(Counter((p["pair"], p["annotator"]) for p in stored).values()) == 1


def _each_round_trained_once(stack: Any, project: str) -> None:
    rounds = ask(
        stack,
        """
        SELECT r.id, r.state, (r.metrics->>'trained_pairs')::int, r.needed,
               (SELECT count(*) FROM runs WHERE round_id = r.id AND kind = 'train'),
               (SELECT count(*) FROM policies WHERE round_id = r.id),
               (SELECT count(*) FROM events WHERE round_id = r.id AND kind = 'policy.published'),
               (SELECT count(*) FROM training_labels t JOIN preferences p ON p.id = t.preference_id
                WHERE t.round_id = r.id AND p.choice <> 'skip')
        FROM rounds r WHERE project_id = %s ORDER BY number
        """,
        project,
    )
    labels = 0
    for _, state, trained, needed, trainings, policies, published, fixed in rounds:
        labels += needed
        told = f"round of {needed}: {labels} needed so far, {fixed} fixed, {trained} trained"
        assert (state, trainings, policies, published) == ("done", 1, 1, 1), told
        assert trained == fixed == labels, told


def _policies_are_on_disk(stack: Any, project: str) -> None:
    store = stack.home / "artifacts"
    policies = ask(
        stack,
        "SELECT path, files FROM policies WHERE project_id = %s AND path IS NOT NULL",
        project,
    )
    assert policies
    for path, files in policies:
        there = {f.relative_to(store / path).as_posix() for f in (store / path).rglob("*")}
        assert there == set(files)
        for name, facts in files.items():
            data = (store / path / name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == facts["sha256"], f"{path}/{name}"


def _nothing_is_stuck(stack: Any, project: str) -> None:
    live = ask(
        stack,
        "SELECT count(*) FROM claims WHERE project_id = %s AND state = 'live'",
        project,
    )
    assert live == [(0,)], "claims that nobody can answer"
    busy = ask(
        stack,
        "SELECT kind, state FROM runs WHERE project_id = %s AND state <> 'done'",
        project,
    )
    assert busy == []
