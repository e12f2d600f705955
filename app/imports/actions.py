"""Keeping a file for a while: who sent it may look at it, import it or fetch it."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app import artifacts
from app.database import transaction
from app.errors import NotFound
from app.imports.models import KeptFile
from app.language import _

KEPT_FOR = dt.timedelta(hours=1)
MOST_KEPT = 4
"""Files a person may have here at once; the oldest goes for a new one."""
_FILE = "file"
_CHUNK = 1024 * 1024


def keep(
    project_id: uuid.UUID,
    person_id: uuid.UUID,
    file: IO[bytes],
    *,
    kind: str,
    name: str,
    format: str,
) -> uuid.UUID:
    """Keep a file for :data:`KEPT_FOR`; its id.

    In transactions of its own: a row that is there before the file is how a crash between leaves
    nothing that nobody finds.
    """
    kept = KeptFile(
        project_id=project_id, person_id=person_id, kind=kind, name=name[:200], format=format
    )
    with transaction() as session:
        session.add(kept)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / _FILE
        file.seek(0)
        with copy.open("wb") as target:
            shutil.copyfileobj(file, target, _CHUNK)
        stored = artifacts.put_folder(Path(folder), kept.folder)
    with transaction() as session:
        session.get_one(KeptFile, kept.id).size = stored[_FILE]["size"]
    _make_room(person_id)
    return kept.id


def find(session: Session, project_id: uuid.UUID, person_id: uuid.UUID, id: uuid.UUID) -> KeptFile:
    """A person's own file.

    Raises:
        NotFound: it is not there any more, or somebody else's.
    """
    kept = session.scalar(
        select(KeptFile).where(
            KeptFile.id == id,
            KeptFile.project_id == project_id,
            KeptFile.person_id == person_id,
            KeptFile.size.is_not(None),
            KeptFile.created_at > func.now() - KEPT_FOR,
        )
    )
    if kept is None:
        raise NotFound(_("This file is kept no longer: choose it once more."))
    return kept


@contextlib.contextmanager
def opened(kept: KeptFile) -> Iterator[IO[bytes]]:
    """The file, to read.

    Raises:
        NotFound: it is not in the store.
    """
    try:
        file = artifacts.open_file(kept.folder, _FILE)
    except FileNotFoundError:
        raise NotFound(_("This file is kept no longer: choose it once more.")) from None
    with file:
        yield file


def pieces(kept: KeptFile) -> Iterator[bytes]:
    """The file, piece by piece.

    Raises:
        NotFound: it is not in the store.
    """
    with opened(kept) as file:
        yield from iter(lambda: file.read(_CHUNK), b"")


def forget_old() -> int:
    """Remove files whose time is over, in the store first; how many."""
    with transaction() as session:
        old = select(KeptFile).where(KeptFile.created_at < func.now() - KEPT_FOR)
        return _forget(session, list(session.scalars(old.limit(100))))


def _make_room(person_id: uuid.UUID) -> None:
    with transaction() as session:
        mine = select(KeptFile).where(KeptFile.person_id == person_id)
        newest_first = mine.order_by(KeptFile.created_at.desc(), KeptFile.id.desc())
        _forget(session, list(session.scalars(newest_first.offset(MOST_KEPT))))


def _forget(session: Session, files: list[KeptFile]) -> int:
    for file in files:
        artifacts.remove_folder(file.folder)
    session.execute(delete(KeptFile).where(KeptFile.id.in_([file.id for file in files])))
    return len(files)
