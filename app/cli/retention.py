"""``activedpo retention``: which policies would lose their files, and, if wished, letting them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from app.cli.context import show_json, show_table, use_database


def retention(
    apply: Annotated[
        bool, typer.Option("--apply", help="Let them go; without it nothing is changed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say which policies the rule would let go (a dry run), or let them go with --apply.

    Their files are removed by a worker, an hour later.
    """
    use_database()
    found = _retired() if apply else _would_go()
    if as_json:
        show_json({"applied": apply, "policies": [dataclasses.asdict(one) for one in found]})
        return
    columns = ("project", "policy", "bytes", "id")
    show_table(columns, [(one.project, one.number, one.size_bytes, one.id) for one in found])
    size = sum(one.size_bytes for one in found)
    verb = "go" if apply else "would go"
    print(f"{len(found)} {'policy' if len(found) == 1 else 'policies'} {verb}, {size:,} bytes")


def _would_go() -> list[Any]:
    from app.database import transaction
    from app.policies import retention as rule

    with transaction() as session:
        return list(rule.would_go(session))


def _retired() -> list[Any]:
    from app.database import transaction
    from app.policies import retention as rule

    with transaction() as session:
        projects = rule.projects_with_a_rule(session)
    gone: list[Any] = []
    for project_id in projects:
        with transaction() as session:
            gone += rule.retire(session, project_id)
    return gone


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command()(retention)
