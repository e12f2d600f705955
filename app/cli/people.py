"""``user add`` and ``key add``: people and their API keys. A secret is shown once, here."""

from __future__ import annotations

import contextlib
import secrets
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import Failure, show_json, use_database

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.projects.models import Project

users = typer.Typer(help="People.", no_args_is_help=True)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ProjectOption = Annotated[
    str | None, typer.Option("--project", help="Id of a project, or its name if only one has it.")
]


def find_project(session: Session, wanted: str, option: str = "--project") -> Project:
    """The project with this id or name.

    Raises:
        Failure: none or several; the message names the option.
    """
    from sqlalchemy import select

    from app.projects.models import Project

    try:
        found = [project] if (project := session.get(Project, uuid.UUID(wanted))) else []
    except ValueError:
        found = list(session.scalars(select(Project).where(Project.name == wanted)))
    if len(found) == 1:
        return found[0]
    why = "there is no such project" if not found else "several have this name: give the id"
    raise Failure(f"{option} {wanted}: {why}")


@users.command("add")
def add_user(
    email: Annotated[str, typer.Argument(help="The address they sign in with.")],
    name: Annotated[str, typer.Option(help="How they are shown.")] = "",
    role: Annotated[
        str,
        typer.Option(
            help="admin (of the whole site), or with --project: owner, admin, reviewer, "
            "annotator or oracle."
        ),
    ] = "annotator",
    project: ProjectOption = None,
    password: Annotated[
        str | None, typer.Option(help="8 characters or more; generated and printed if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a person, and make them a member of a project if one is given."""
    from app.people.actions import add_member, add_person
    from app.people.models import PROJECT_ROLES

    if role not in PROJECT_ROLES:
        raise Failure(f"--role {role}: one of {', '.join(PROJECT_ROLES)}", 2)
    if project is None and role not in ("admin", "annotator"):
        raise Failure(f"--role {role} is a role in a project: give --project too", 2)
    use_database()
    from app.database import transaction

    secret = password or secrets.token_urlsafe(12)
    site_role = "admin" if role == "admin" and project is None else "member"
    with transaction() as session:
        member_of = find_project(session, project) if project is not None else None
        person = add_person(session, email, name, site_role, secret)
        if member_of is not None:
            add_member(session, member_of, person, role)
        shown = {"id": str(person.id), "email": person.email, "role": role}
    if as_json:
        show_json(shown | {"password": secret})
    else:
        print(f"{shown['email']} added as {role}; password:")
        print(secret)


@users.command("reset-second-factor")
def reset_second_factor(
    email: Annotated[str, typer.Argument(help="Who lost their phone and recovery codes.")],
) -> None:
    """Take a person's second step of signing in out, and end their sessions."""
    from app.people import second_factor
    from app.people.actions import person_called
    from app.people.sessions import sign_out_everywhere

    use_database()
    from app.database import transaction

    with transaction() as session:
        person = person_called(session, email)
        second_factor.reset(session, person, None)
        sign_out_everywhere(session, person.id)


@users.command("export")
def export_user(
    email: Annotated[str, typer.Argument(help="Whose data.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write; standard output if not given.")
    ] = None,
) -> None:
    """Write all that is kept about a person, as JSON."""
    from app.people.actions import person_called
    from app.privacy.queries import everything_about

    use_database()
    from app.database import transaction

    with transaction() as session:
        person_id = person_called(session, email).id
    with out.open("wb") if out else contextlib.nullcontext(sys.stdout.buffer) as sink:
        for part in everything_about(person_id):
            sink.write(part)


@users.command("delete")
def delete_user(
    email: Annotated[str, typer.Argument(help="Who is to be forgotten.")],
    labels: Annotated[
        str,
        typer.Option(help="keep: under another name; remove: but for what a round trained on."),
    ] = "keep",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a person for good: account, sessions, keys, name and address."""
    from app.people.actions import person_called
    from app.privacy.actions import delete_person

    if labels not in ("keep", "remove"):
        raise Failure(f"--labels {labels}: keep or remove", 2)
    use_database()
    from app.database import transaction

    if not yes:
        typer.confirm(f"Delete {email} for good?", abort=True)
    with transaction() as session:
        person = person_called(session, email)
        done = delete_person(session, person, "keep" if labels == "keep" else "remove", None)
    if as_json:
        show_json(done.view())
    else:
        print(f"{done.name}: {done.kept} preferences kept, {done.removed} taken out")


@keys.command("add")
def add_key(
    email: Annotated[str, typer.Argument(help="Whose key it is.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    scope: Annotated[str, typer.Option(help="admin, annotator or oracle.")] = "annotator",
    project: ProjectOption = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key; it is the last line printed, alone, and is not shown again."""
    from app.people import actions

    use_database()
    from app.database import transaction

    with transaction() as session:
        person = actions.person_called(session, email)
        only = find_project(session, project).id if project is not None else None
        key, secret = actions.add_key(session, person, scope, name, only)
        shown = {"id": str(key.id), "email": person.email, "scope": scope, "name": name}
    if as_json:
        show_json(shown | {"project": str(only) if only else None, "key": secret})
    else:
        print(f"key of {shown['email']}, scope {scope}:")
        print(secret)


def register(cli: typer.Typer) -> None:
    """Add both groups."""
    cli.add_typer(users, name="user")
    cli.add_typer(keys, name="key")
