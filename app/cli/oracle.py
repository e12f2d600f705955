"""``oracle run``: a function of your own labels a project over HTTP."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Annotated

import typer

from app.cli.context import NO_STACK, USAGE, Failure

group = typer.Typer(help="Oracles from outside.", no_args_is_help=True)


@group.command()
def run(
    function: Annotated[
        str,
        typer.Argument(
            help="module:function of (prompt, left, right) -> p(left is better), or None."
        ),
    ],
    project: Annotated[str, typer.Option(help="Id of the project.")],
    url: Annotated[str, typer.Option(help="Address of the site.")] = "http://127.0.0.1:8000",
    key: Annotated[
        str, typer.Option(envvar="ACTIVEDPO_ORACLE_KEY", help="API key; scope oracle is enough.")
    ] = "",
    name: Annotated[str, typer.Option(help="Kept with each label; default: the function.")] = "",
    version: Annotated[str, typer.Option(help="Kept with each label.")] = "",
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Calls at a time.")] = 8,
    once: Annotated[bool, typer.Option(help="End when nothing is left to label.")] = False,
) -> None:
    """Label whatever the project asks, until Ctrl-C; what is judged by then is sent."""
    from activedpo.client import ApiError, Client, Unreachable
    from activedpo.oracles.callables import imported
    from activedpo.oracles.remote import label

    if not key:
        raise Failure("--key: give an API key (or ACTIVEDPO_ORACLE_KEY)", USAGE)
    sys.path.insert(0, os.getcwd())
    try:
        judge = imported(function)
    except ValueError as error:
        raise Failure(str(error), USAGE) from error
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    progress = Progress()
    try:
        with Client(url, key) as client:
            label(
                client,
                project,
                judge,
                name=name or function,
                version=version or None,
                concurrency=concurrency,
                wait_seconds=2.0,
                once=once,
                stop=stop,
                progress=progress,
            )
    except Unreachable as error:
        raise Failure(f"--url {url}: {error}", NO_STACK) from error
    except ApiError as error:
        raise Failure(str(error)) from error
    finally:
        progress.close()


class Progress:
    """A bar on a terminal; one line at the end elsewhere."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(unit=" labels", disable=not sys.stderr.isatty())
        self._labels = self._abstained = 0

    def __call__(self, tally: object) -> None:
        labels, abstained = getattr(tally, "labels", 0), getattr(tally, "abstained", 0)
        self._bar.update(labels - self._labels)
        self._bar.set_postfix(abstained=abstained)
        self._labels, self._abstained = labels, abstained

    def close(self) -> None:
        """End the bar and say how many there were."""
        self._bar.close()
        print(f"{self._labels} answers sent, {self._abstained} of them abstentions")


def register(cli: typer.Typer) -> None:
    """Add the group."""
    cli.add_typer(group, name="oracle")
