"""``up``, ``serve``, ``worker``, ``beat`` and ``migrate``: the stack and its parts."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from app.cli.context import IN_USE, USAGE, Failure, become, find_database, use_schema


def up(
    demo: Annotated[bool, typer.Option(help="Fetch a small model and seed a project.")] = False,
) -> None:
    """Run everything on this machine: database, broker, worker and web server."""
    from app.settings import get_settings
    from app.stack.home import HomeInUseError
    from app.stack.postgres import PostgresError
    from app.stack.process import PartFailedError
    from app.stack.redis import RedisError
    from app.stack.supervisor import Supervisor
    from app.stack.web import PortTakenError

    try:
        Supervisor(get_settings(), demo=demo).run()
    except (HomeInUseError, PortTakenError) as error:
        raise Failure(str(error), IN_USE) from error
    except (PartFailedError, PostgresError, RedisError) as error:
        raise Failure(str(error)) from error


def serve(
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Web processes on one port; SIGHUP replaces them one by one."),
    ] = None,
    fd: Annotated[
        int | None, typer.Option(help="A socket that is open already, as systemd hands it on.")
    ] = None,
    ready: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the web server alone; ACTIVEDPO_HOST and PORT say where.

    On SIGTERM it takes no further connection and answers what it has; on SIGINT it hurries.
    """
    import socket

    from app.settings import get_settings
    from app.stack import web

    use_schema()
    settings = get_settings()
    try:
        given = socket.socket(fileno=fd) if fd is not None else None
    except OSError as error:
        raise Failure(f"--fd {fd}: no open socket ({error.strerror})", USAGE) from error
    try:
        with given or web.bind(settings.host, settings.port) as listening:
            if processes is None:
                web.serve(settings, listening, ready)
            else:
                web.Webs(settings, listening, processes).run()
    except web.PortTakenError as error:
        raise Failure(str(error), IN_USE) from error


def worker(
    takes: Annotated[
        str,
        typer.Option(
            help="What it does: train, generate, gpu (both), cpu (what needs no model), by commas.",
            envvar="ACTIVEDPO_TAKES",
        ),
    ] = "gpu,cpu",
    queues: Annotated[str | None, typer.Option(hidden=True, help="The old name.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Tasks at a time.")] = 4,
) -> None:
    """Run a Celery worker alone: generation, training, evaluation."""
    listens = _queues((queues or takes).replace("default", "cpu"))
    use_schema()
    flags = ["-Q", listens, "--pool", "threads", "--concurrency", str(concurrency)]
    # Workers have nothing to tell each other: what there is to do is in the database
    flags += ["--without-gossip", "--without-mingle"]
    become([*_celery(), "worker", *flags, "--loglevel", _level()])


def _queues(takes: str) -> str:
    from app.jobs import CAPABILITIES

    named = [name.strip() for name in takes.split(",") if name.strip()]
    unknown = sorted(set(named) - set(CAPABILITIES))
    if unknown or not named:
        known = ", ".join(CAPABILITIES)
        raise typer.BadParameter(
            f"{', '.join(unknown) or 'nothing'}: there are {known}", param_hint="--takes"
        )
    return ",".join(dict.fromkeys(queue for name in named for queue in CAPABILITIES[name]))


def beat() -> None:
    """Run the clock alone: it wakes the reconciler; one of them is enough for all machines."""
    use_schema()
    # At INFO it writes a line for every look of the reconciler
    level = "WARNING" if _level() == "INFO" else _level()
    os.environ["ACTIVEDPO_LOG_LEVEL"] = level
    become([*_celery(), "beat", "--loglevel", level])


def migrate() -> None:
    """Bring the database's schema up to date; make the admin and key the environment names."""
    from app.stack import bootstrap

    find_database()
    bootstrap.migrate()


def _celery() -> list[str]:
    # Root is usual in a container, and no message is ever unpickled
    os.environ["PYTHONWARNINGS"] = "ignore:You're running the worker with superuser"
    return [sys.executable, "-m", "celery", "--quiet", "-A", "worker.celery_app"]


def _level() -> str:
    from app.settings import get_settings

    return get_settings().log_level.upper()


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, serve, worker, beat, migrate):
        cli.command()(command)
