"""``demo fetch`` and ``demo prepare``: the demo's model and project."""

from __future__ import annotations

import typer

from app.cli.context import Failure, use_database

group = typer.Typer(help="The demo's model and project.", no_args_is_help=True)


@group.command()
def fetch() -> None:
    """Download the demo's model, unless it is there."""
    from app.demo import model
    from app.settings import get_settings

    try:
        model.fetch(get_settings().home)
    except model.ModelUnavailableError as error:
        raise Failure(str(error)) from error


@group.command()
def prepare() -> None:
    """Fetch and convert the model, seed the project and start its first round."""
    from app.demo import model, seed, status
    from app.settings import get_settings

    use_database()
    home = get_settings().home
    try:
        seed.prepare(home)
    except model.ModelUnavailableError as error:
        status.write(home, status.Status("failed", str(error)))
        raise Failure(str(error)) from error


def register(cli: typer.Typer) -> None:
    """Add the group."""
    cli.add_typer(group, name="demo")
