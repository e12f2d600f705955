"""The ``activedpo`` command. Exit codes: 0 done, 1 it failed, 2 wrong usage, 3 no stack or
database to talk to, 4 HOME or port in use.

A command group is one file here with a ``register`` function, and one line in ``GROUPS``.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import typer

from app.cli.context import NO_STACK, USAGE, Failure, complain

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

GROUPS = (
    "stack",
    "data",
    "people",
    "oracle",
    "doctor",
    "demo",
    "backup",
    "simulate",
    "run",
    "retention",
)


def build() -> typer.Typer:
    """The whole command line."""
    cli = typer.Typer(
        name="activedpo",
        help="Active preference learning: spend human labels where they teach the policy most.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for group in GROUPS:
        importlib.import_module(f"app.cli.{group}").register(cli)
    return cli


def main() -> None:
    """Run the command line; errors that people can mend are a line, not a traceback."""
    try:
        build()()
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        sys.exit(complain(str(explained), explained.code))


def explain(error: Exception) -> Failure | None:
    """The error as a line and an exit code; None where it is a fault of ours.

    Looks only at what is imported already: a command that needs no database loads none.
    """
    if isinstance(error, Failure):
        return error
    if "app.errors" in sys.modules:
        from app.errors import Problem

        if isinstance(error, Problem):
            return Failure(error.detail)
    if "pydantic" in sys.modules:
        from pydantic import ValidationError

        if isinstance(error, ValidationError) and error.title == "Settings":
            return Failure("; ".join(map(_told, error.errors())), USAGE)
    if "sqlalchemy" in sys.modules:
        from sqlalchemy.exc import ArgumentError, OperationalError

        if isinstance(error, ArgumentError | OperationalError):
            first = str(error.__cause__ or error).splitlines()[0]
            return Failure(f"the database (ACTIVEDPO_DATABASE_URL): {first}", NO_STACK)
    return None


def _told(fault: ErrorDetails) -> str:
    name = ".".join(map(str, fault["loc"])).upper()
    return f"ACTIVEDPO_{name.removeprefix('ACTIVEDPO_')}: {fault['msg']}"
