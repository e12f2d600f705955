"""``backup`` and ``restore``: yesterday's state, got back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.context import IN_USE, NO_STACK, Failure

if TYPE_CHECKING:
    from app.backup.archive import Progress


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    """A progress bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    from app.backup.archive import Progress

    with tqdm(unit="B", unit_scale=True, desc=title, disable=None, file=sys.stderr) as bar:

        class Shown(Progress):
            def total(self, size: int) -> None:
                bar.total = size
                bar.refresh()

            def advance(self, size: int) -> None:
                bar.update(size)

        yield Shown()


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; mode 0600, it holds secrets.")],
    models: Annotated[
        bool, typer.Option(help="With the base models kept in HOME/models that projects use.")
    ] = True,
    allow_missing: Annotated[
        bool, typer.Option(help="Leave out policies' files that the store has lost; say which.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write database, artefacts and secret key to one file; people and workers go on meanwhile."""
    from app.backup.archive import BackupError, NoDatabaseError
    from app.backup.take import Options, take
    from app.settings import get_settings

    try:
        with _bar("backup") as progress:
            taken = take(get_settings(), file.absolute(), Options(models, allow_missing), progress)
    except NoDatabaseError as error:
        raise Failure(str(error), NO_STACK) from error
    except BackupError as error:
        raise Failure(str(error)) from error
    if as_json:
        print(json.dumps({"file": str(file), **vars(taken)}))
        return
    for name in taken.missing:
        print(f"left out, the store has lost it: {name}")
    print(f"{file}: {_size(taken.size)}; {_told(taken.rows)}")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `activedpo backup` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring a backup back, into an empty HOME or an empty database; all of it or nothing."""
    from app.backup.archive import BackupError, NoDatabaseError
    from app.backup.restore import restore as bring_back
    from app.settings import get_settings
    from app.stack.home import HomeInUseError

    settings = get_settings()
    try:
        with _bar("restore") as progress:
            restored = bring_back(settings, file.absolute(), progress)
    except HomeInUseError as error:
        raise Failure(f"{error} A backup is restored into an empty HOME.", IN_USE) from error
    except NoDatabaseError as error:
        raise Failure(str(error), NO_STACK) from error
    except BackupError as error:
        raise Failure(str(error)) from error
    facts = restored.facts
    if as_json:
        shown = {name: value for name, value in facts.items() if name != "entries"}
        print(json.dumps({**shown, "warnings": restored.warnings}))
        return
    for warning in restored.warnings:
        print(f"activedpo: {warning}", file=sys.stderr)
    print(f"restored what was backed up at {facts['taken_at']}: {_told(facts['rows'])}")
    if settings.database_url is None:
        print(f"start it with: ACTIVEDPO_HOME={settings.home} activedpo up")
    else:
        print("now run `activedpo migrate`, then start the web server and the workers")


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _told(rows: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in rows.items() if count) or "no rows"


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    for command in (backup, restore):
        cli.command()(command)
