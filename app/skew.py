"""Whether this code and the database's schema belong together; where not, nothing is touched.

Code that writes to a schema it does not know could lose what the newer one keeps, so every part
compares the revision of its own migrations with that of the database: when it starts, and again
while it runs, as an upgrade may come under a process that was not stopped.
"""

from __future__ import annotations

import logging
import time
from functools import lru_cache

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.database import get_engine
from app.errors import Unavailable
from app.migrate import config

# Alembic tells of its dialect at every look; what migrates says more by itself.
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)

LOOK_SECONDS = 5.0
"""How long a database that was found right is believed to be so."""


class SkewError(Unavailable):
    """The database's schema is not the one of this code; the message says what to do."""


@lru_cache
def shipped() -> tuple[str | None, frozenset[str]]:
    """The newest revision of this code, and every one that it knows; read once a process."""
    scripts = ScriptDirectory.from_config(config())
    return scripts.get_current_head(), frozenset(s.revision for s in scripts.walk_revisions())


def check(connection: Connection) -> None:
    """See that the database is at this code's revision.

    Raises:
        SkewError: it is not; the message names both revisions and what to do.
    """
    found = MigrationContext.configure(connection).get_current_revision()
    newest, known = shipped()
    if found == newest:
        return
    if found is None:
        raise SkewError("The database has no tables yet: run `activedpo migrate`.")
    if found in known:
        raise SkewError(
            f"The database is at revision {found} and this version of ActiveDPO needs {newest}: "
            "run `activedpo migrate`, or start the version that belongs to the database."
        )
    raise SkewError(
        f"The database is at revision {found}, which this version of ActiveDPO (at {newest}) does "
        "not know: a newer version has migrated it. Start that version here."
    )


def check_at_start() -> None:
    """The same for a part that starts; a database out of reach is left to `/readyz` and later.

    Raises:
        SkewError: as of :func:`check`.
    """
    shipped()  # before anybody puts newer files in their place
    try:
        with get_engine().connect() as connection:
            check(connection)
    except DBAPIError:
        return


_fine = {"until": 0.0}


def check_again(connection: Connection) -> None:
    """The same while a part runs, every :data:`LOOK_SECONDS`.

    Raises:
        SkewError: as of :func:`check`; the next call looks anew.
    """
    if time.monotonic() < _fine["until"]:
        return
    check(connection)
    _fine["until"] = time.monotonic() + LOOK_SECONDS


def forget() -> None:
    """Look at the next call."""
    _fine["until"] = 0.0
