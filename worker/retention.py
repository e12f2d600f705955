"""Removes what the rule of retention lets go: policies in the store, and leftovers of this host."""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path

import structlog
from sqlalchemy import select

from app import artifacts, faults
from app.database import transaction
from app.policies import retention
from app.projects import deletion
from app.rounds.models import Run
from app.settings import get_settings

log = structlog.get_logger()
OVER = ("done", "cancelled")
EVERY_SECONDS = 600
"""How often the clock asks."""

YOUNG_SECONDS = 600
"""A folder younger than this may belong to work that is just beginning."""


def retain() -> int:
    """One look at every project; how many folders were removed from the store.

    Safe to end anywhere and to run twice at a time: the row says first what goes, removing a
    folder that is gone is no error, and only then the row says that it is.
    """
    with transaction() as session:
        projects = retention.projects_with_a_rule(session)
    for project_id in projects:
        with transaction() as session:
            for policy in retention.retire(session, project_id):
                log.info("policy_retired", policy=str(policy.id), bytes=policy.size_bytes)
        faults.point("retention.retired")
    return _reclaim() + erase()


def erase() -> int:
    """Erase the projects that somebody deleted, rows first; how many are gone for good.

    Each table in a transaction of its own: whoever dies goes on there the next time.
    """
    with transaction() as session:
        due = deletion.waiting(session)
    gone = 0
    for project_id, old in due:
        for step in deletion.steps(project_id):
            with transaction() as session:
                session.execute(step)
            faults.point("project.erasing")
        artifacts.remove_folder(deletion.folder_of(project_id))
        if old:  # nobody can be writing to it any more
            with transaction() as session:
                deletion.forget(session, project_id)
            gone += 1
        log.info("project_erased", project=str(project_id), for_good=old)
    return gone


def _reclaim() -> int:
    with transaction() as session:
        due = retention.due(session)
    for policy_id, path in due:
        artifacts.remove_folder(path)
        faults.point("retention.removed")
        with transaction() as session:
            retention.reclaimed(session, policy_id)
        log.info("policy_reclaimed", policy=str(policy_id))
    return len(due)


def tidy() -> int:
    """Remove from this host what no policy and no run needs any more; how many folders.

    Copies of retired policies, and checkpoints of trainings that are over: another worker may have
    finished what this one began.
    """
    home = get_settings().home
    gone = _stale_copies(home / "cache" / "policies") + _stale_checkpoints(home / "scratch")
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    return len(gone)


def _stale_copies(cache: Path) -> list[Path]:
    copies = [folder for folder in cache.glob("projects/*/rounds/*/*") if _settled(folder)]
    paths = {folder: folder.relative_to(cache).as_posix() for folder in copies}
    with transaction() as session:
        standing = retention.standing(session, list(paths.values()))
    return [folder for folder, path in paths.items() if path not in standing]


def _stale_checkpoints(scratch: Path) -> list[Path]:
    found = {}
    for folder in scratch.glob("train-*"):
        try:
            found[folder] = uuid.UUID(folder.name.removeprefix("train-"))
        except ValueError:
            continue
    with transaction() as session:
        wanted = set(
            session.scalars(
                select(Run.id).where(Run.id.in_(found.values()), Run.state.not_in(OVER))
            )
        )
    return [folder for folder, run in found.items() if run not in wanted and _settled(folder)]


def _settled(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > YOUNG_SECONDS
    except OSError:
        return False
