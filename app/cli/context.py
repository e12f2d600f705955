"""What commands share: the database they work on, tables, JSON and errors."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

FAILED, USAGE, NO_STACK, IN_USE = 1, 2, 3, 4


class Failure(Exception):
    """Ends the command with a message and an exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def complain(message: str, code: int) -> int:
    """Print an error; gives back the exit code."""
    print(f"activedpo: {message}", file=sys.stderr)
    return code


def use_database() -> None:
    """Let :func:`app.database.transaction` work: on the configured database, or on HOME's.

    Raises:
        Failure: neither is there.
        SkewError: its schema is of another version.
    """
    use_schema()
    import app.models  # noqa: F401  (every table, or foreign keys lead nowhere)


def use_schema() -> None:
    """Find the database and see that its schema is this version's.

    Raises:
        Failure: there is none.
        SkewError: its schema is of another version.
    """
    find_database()
    from app import skew

    skew.check_at_start()


def find_database() -> None:
    """Put the addresses of HOME's stack into the environment, unless a database is configured.

    Raises:
        Failure: neither is there.
    """
    from app.settings import get_settings
    from app.stack.home import running_stack

    settings = get_settings()
    if settings.database_url is not None:
        return
    stack = running_stack(settings.home)
    if stack is None:
        raise Failure(
            f"no database: nothing runs on {settings.home}. Start it with `activedpo up`, or set "
            "ACTIVEDPO_DATABASE_URL (or ACTIVEDPO_HOME).",
            NO_STACK,
        )
    os.environ["ACTIVEDPO_DATABASE_URL"] = stack.database_url
    os.environ["ACTIVEDPO_REDIS_URL"] = stack.redis_url
    get_settings.cache_clear()


def show_json(value: Any) -> None:
    """Print ``value`` as JSON; ids and dates as text."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on a terminal, tab-separated lines elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns)
        for row in rows:
            table.add_row(*map(str, row))
        Console().print(table)
        return
    for row in rows:
        print("\t".join(map(str, row)))


def become(command: list[str]) -> NoReturn:
    """Become another program: signals and exit code are its own."""
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606
