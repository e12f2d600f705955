"""The ``activedpo`` command. Exit codes: 0 done, 1 it failed, 2 wrong usage, 3 no stack or
database to talk to, 4 HOME or port in use.

A command group is one file here with a ``register`` function, and one line in ``GROUPS``.
"""

from __future__ import annotations

import importlib
import sys

import typer
from pydantic import ValidationError

from app.cli.context import Failure, complain
from app.errors import Problem

GROUPS = ("stack", "people", "doctor", "demo")


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
    except Failure as failure:
        sys.exit(complain(str(failure), failure.code))
    except Problem as problem:
        sys.exit(complain(problem.detail, 1))
    except ValidationError as error:
        for fault in error.errors():
            name = ".".join(map(str, fault["loc"]))
            complain(f"ACTIVEDPO_{name.upper().removeprefix('ACTIVEDPO_')}: {fault['msg']}", 2)
        sys.exit(2)
