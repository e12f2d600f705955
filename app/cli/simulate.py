"""``simulate``: strategies against each other with an automatic oracle, no web and no people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.context import USAGE, Failure, show_json


def simulate(
    config: Annotated[Path, typer.Argument(help="YAML file; see docs/strategies.md.")],
    out: Annotated[Path, typer.Option(help="Folder of results; a part of them is completed.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Recorded labels (.jsonl, hh or trl shape) instead of an oracle."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Say the result as JSON.")] = False,
) -> None:
    """Compare strategies by simulated labelling: results.parquet and report.html in OUT."""
    from activedpo.errors import ActiveDPOError
    from activedpo.simulation.config import InvalidConfig, read_config
    from activedpo.simulation.run import simulate as run

    given = None if labels is None else str(labels.resolve())
    try:
        checked = read_config(config, recorded=labels is not None)
        with _Progress() as progress:
            results = run(checked, out, given, jobs, progress)
    except InvalidConfig as error:
        raise Failure(str(error), USAGE) from error
    except ActiveDPOError as error:
        raise Failure(str(error)) from error
    if json:
        show_json({"results": results, "report": results.with_name("report.html")})
    else:
        print(f"{results}\n{results.with_name('report.html')}")


class _Progress:
    """A bar on a terminal, a line a round elsewhere; both on standard error."""

    def __enter__(self) -> _Progress:
        self.bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task("simulating", total=None)
        return self

    def __call__(self, done: int, total: int, what: str) -> None:
        if self.bar is None:
            print(f"{done}/{total} {what}", file=sys.stderr, flush=True)
        else:
            self.bar.update(self.task, completed=done, total=total, description=what)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command()(simulate)
