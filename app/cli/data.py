"""``import`` and ``export``: files of prompts, pairs and preferences."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from app.cli.context import FAILED, USAGE, Failure, show_json, use_database
from app.cli.people import AsJson, find_project

if TYPE_CHECKING:
    from rich.progress import Progress
    from sqlalchemy.orm import Session

    from app.projects.imports import Outcome
    from app.projects.mapping import Named
    from app.projects.models import Project
    from app.projects.reading import Format
    from app.projects.refused import RefusedLines
    from app.projects.row import Rejected, Row

FORMATS = {
    ".json": "array",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".zip": "zip",
}
LONGEST_REFUSED = 1 << 40
ProjectArgument = Annotated[
    str, typer.Argument(help="Id of the project, or its name if only one has it.")
]


@dataclass(frozen=True)
class Wanted:
    """What the options of an import say."""

    pairs: bool
    split: str
    mapping: Named
    shape: str | None
    labels: bool
    gold: bool
    dry_run: bool


def import_file(
    project: ProjectArgument,
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            readable=True,
            help="A .jsonl, .json, .csv or .parquet file, or a dataset as Hugging Face writes it: "
            "its folder, or a .zip of it.",
        ),
    ],
    pairs: Annotated[bool, typer.Option(help="The rows are pairs, not prompts.")] = False,
    split: Annotated[
        str, typer.Option(help="train or eval, for prompts that name no split.")
    ] = "train",
    map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OURS=THEIRS", help="Read our field from this column; may be given again."
        ),
    ] = None,
    shape: Annotated[
        str | None, typer.Option(help="The shape of pairs, where it is not to be recognised.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Pairs: also store what the file says is better.")
    ] = False,
    gold: Annotated[
        bool, typer.Option("--gold", help="Pairs: all of them are gold, their answers are known.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would come of it; store nothing.")
    ] = False,
    rejected: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write refused rows here, with the reason: JSON Lines."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import prompts (or, with --pairs, pairs) into a project; exit code 1 if rows were refused.

    What was read is stored every few thousand rows: after a break, run the same again, and only
    the rest is added.
    """
    if not file.is_dir() and file.suffix.lower() not in FORMATS:
        raise Failure(f"{file}: name a folder, or a file ending in {', '.join(FORMATS)}", USAGE)
    if split not in ("train", "eval"):
        raise Failure(f"--split {split}: train or eval", USAGE)
    wanted = Wanted(pairs, split, _named(map or [], pairs), shape, labels, gold, dry_run)
    use_database()
    from app.database import transaction

    with transaction() as session, _opened(file, wanted) as rows, _refused_to(rejected) as refused:
        into = find_project(session, project, "PROJECT")
        outcome = _store(session, into, rows, file.name, wanted, refused)
    _report(outcome, wanted, rows, as_json)


def export_labels(
    project: ProjectArgument,
    format: Annotated[
        str,
        typer.Option(
            help="trl, jsonl, parquet, csv, hh, lmarena, alpaca-eval, argilla or label-studio."
        ),
    ] = "jsonl",
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="The file to write; default: stdout.")
    ] = None,
) -> None:
    """Export every preference of a project; `trl` is what trl.DPOTrainer loads as it is."""
    from app.projects import export, queries

    if format not in get_args(export.Format):
        raise Failure(f"--format {format}: one of {', '.join(get_args(export.Format))}", USAGE)
    use_database()
    from app.database import transaction

    with transaction() as session:
        found = find_project(session, project, "PROJECT")
        chat = export.is_chat(found, queries.has_conversations(session, found.id))
    chunks = export.export(found, cast("export.Format", format), chat)
    if out is None:
        sys.stdout.buffer.writelines(chunks)
        return
    # Beside the target first, so that a broken export never stands under its name
    partial = out.with_name(f".{out.name}.partial")
    with partial.open("wb") as target, _bar() as progress:
        target.writelines(_counted(progress, chunks))
    partial.replace(out)


def _named(words: list[str], pairs: bool) -> Named:
    from app.errors import Invalid
    from app.projects import mapping

    try:
        return mapping.from_words(words, mapping.PAIR_FIELDS if pairs else mapping.PROMPT_FIELDS)
    except Invalid as error:
        raise Failure(f"--map: {error.detail}", USAGE) from None


@contextmanager
def _refused_to(file: Path | None) -> Iterator[RefusedLines | None]:
    """Where refused rows are written; an empty file where none was refused."""
    if file is None:
        yield None
        return
    from app.projects.refused import RefusedLines

    with file.open("wb") as opened:
        yield RefusedLines(opened, LONGEST_REFUSED)


@contextmanager
def _opened(file: Path, wanted: Wanted) -> Iterator[Iterable[Row | Rejected]]:
    from app.projects import datasets, imports

    columns = imports.PAIR_COLUMNS if wanted.pairs else imports.PROMPT_COLUMNS
    with _bar() as progress:
        if file.is_dir():
            size = sum(one.stat().st_size for one in file.rglob("*") if one.is_file())
            task = progress.add_task("import", total=size)
            yield datasets.Dataset(
                datasets.Folder(file),
                columns,
                wanted.mapping,
                pairs=wanted.pairs,
                done=lambda size: progress.advance(task, size),
            )
            return
        kind = cast("Format", FORMATS[file.suffix.lower()])
        with file.open("rb") as opened:
            source = progress.wrap_file(opened, total=file.stat().st_size, description="import")
            yield datasets.rows(source, kind, columns, wanted.mapping, pairs=wanted.pairs)


def _store(
    session: Session,
    project: Project,
    rows: Iterable[Row | Rejected],
    name: str,
    wanted: Wanted,
    refused: RefusedLines | None,
) -> Outcome:
    from app.projects import imports, preview

    # Committed as it comes, so that a break loses little and a large file holds no lock for long
    stored = None if wanted.dry_run else session.commit

    def store() -> Outcome:
        if not wanted.pairs:
            return imports.import_prompts(
                session, project, rows, wanted.split, refused=refused, stored=stored
            )
        return imports.import_pairs(
            session,
            project,
            rows,
            labels=wanted.labels,
            gold=wanted.gold,
            file=name,
            shape=wanted.shape,
            mapping=wanted.mapping,
            refused=refused,
            stored=stored,
        )

    return preview.dry_run(session, store) if wanted.dry_run else store()


def _report(
    outcome: Outcome, wanted: Wanted, rows: Iterable[Row | Rejected], as_json: bool
) -> None:
    from app.projects import datasets, preview

    files = rows.view() if isinstance(rows, datasets.Dataset) else {}
    if as_json:
        view = preview.view(outcome) if wanted.dry_run else outcome.view()
        show_json({**view, **files})
    else:
        would = "would be " if wanted.dry_run else ""
        labels = "" if outcome.labels is None else f", {outcome.labels:,} labels"
        gold = "" if outcome.gold is None else f", {outcome.gold:,} gold"
        print(f"{outcome.added:,} {would}added, {outcome.duplicates:,} duplicates{labels}{gold}")
        if wanted.dry_run:
            _show_first(outcome, wanted.pairs)
        for name in files.get("left_out", []):
            print(f"left out: {name}", file=sys.stderr)
        for refused in outcome.rejected[:20]:
            print(f"line {refused.line}: {refused.reason}", file=sys.stderr)
        if outcome.rejected_total:
            print(f"{outcome.rejected_total:,} rows refused", file=sys.stderr)
    if outcome.rejected_total:
        raise typer.Exit(FAILED)


def _show_first(outcome: Outcome, pairs: bool) -> None:
    from app.projects import preview

    if pairs:
        print(f"shape: {outcome.shape.title}")
    print(f"columns: {', '.join(outcome.columns)}")
    for new in outcome.first[:3]:
        show_json(preview.row_view(new))


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
