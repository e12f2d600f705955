"""``import`` and ``export``: files of prompts, pairs and preferences."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, cast

import typer

from app.cli.context import FAILED, USAGE, Failure, show_json, use_database
from app.cli.people import AsJson, find_project

if TYPE_CHECKING:
    from rich.progress import Progress
    from sqlalchemy.orm import Session

    from app.projects.export import Format
    from app.projects.imports import Outcome
    from app.projects.models import Project

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
EXPORTS = ("trl", "jsonl", "parquet", "csv")
ProjectArgument = Annotated[
    str, typer.Argument(help="Id of the project, or its name if only one has it.")
]


def import_file(
    project: ProjectArgument,
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="A .jsonl, .csv or .parquet file."
        ),
    ],
    pairs: Annotated[bool, typer.Option(help="The rows are pairs, not prompts.")] = False,
    split: Annotated[
        str, typer.Option(help="train or eval, for prompts that name no split.")
    ] = "train",
    as_json: AsJson = False,
) -> None:
    """Import prompts (or, with --pairs, pairs) into a project; exit code 1 if rows were refused."""
    kind = FORMATS.get(file.suffix.lower())
    if kind is None:
        raise Failure(f"{file}: name a file ending in {', '.join(FORMATS)}", USAGE)
    if split not in ("train", "eval"):
        raise Failure(f"--split {split}: train or eval", USAGE)
    use_database()
    from app.database import transaction

    with transaction() as session, file.open("rb") as opened, _bar() as progress:
        source = progress.wrap_file(opened, total=file.stat().st_size, description="import")
        into = find_project(session, project, "PROJECT")
        outcome = _store(session, into, source, kind, None if pairs else split)
    _report(outcome, as_json)


def export_labels(
    project: ProjectArgument,
    format: Annotated[str, typer.Option(help="trl, jsonl, parquet or csv.")] = "jsonl",
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="The file to write; default: stdout.")
    ] = None,
) -> None:
    """Export every preference of a project; `trl` is what trl.DPOTrainer loads as it is."""
    if format not in EXPORTS:
        raise Failure(f"--format {format}: one of {', '.join(EXPORTS)}", USAGE)
    use_database()
    from app.database import transaction
    from app.projects import export, queries

    with transaction() as session:
        found = find_project(session, project, "PROJECT")
        chat = export.is_chat(found, queries.has_conversations(session, found.id))
    chunks = export.export(found, cast("Format", format), chat)
    if out is None:
        sys.stdout.buffer.writelines(chunks)
        return
    # Beside the target first, so that a broken export never stands under its name
    partial = out.with_name(f".{out.name}.partial")
    with partial.open("wb") as target, _bar() as progress:
        target.writelines(_counted(progress, chunks))
    partial.replace(out)


def _store(
    session: Session, project: Project, file: IO[bytes], kind: str, split: str | None
) -> Outcome:
    """Prompts with ``split`` where they name none, or pairs where it is None."""
    from app.projects import imports, reading

    columns = imports.PAIR_COLUMNS if split is None else imports.PROMPT_COLUMNS
    rows = reading.rows(file, cast("reading.Format", kind), columns)
    if split is None:
        return imports.import_pairs(session, project, rows)
    return imports.import_prompts(session, project, rows, split)


def _report(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        show_json(outcome.view())
    else:
        print(f"{outcome.added:,} added, {outcome.duplicates:,} duplicates")
        for refused in outcome.rejected[:20]:
            print(f"line {refused.line}: {refused.reason}", file=sys.stderr)
        if outcome.rejected_total:
            print(f"{outcome.rejected_total:,} rows refused", file=sys.stderr)
    if outcome.rejected_total:
        raise typer.Exit(FAILED)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    # Only where somebody watches; stdout stays free for what is exported
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _counted(progress: Progress, chunks: Iterator[bytes]) -> Iterator[bytes]:
    task = progress.add_task("export", total=None)
    for chunk in chunks:
        progress.advance(task, len(chunk))
        yield chunk


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command("import")(import_file)
    cli.command("export")(export_labels)
