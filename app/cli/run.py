"""``run``: the loop without people, on embedded parts or on a server elsewhere."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.context import USAGE, Failure, show_json

if TYPE_CHECKING:
    from activedpo.client import AsyncClient
    from activedpo.simulation.config import SimulationConfig


def run(
    config: Annotated[Path, typer.Argument(help="YAML file; the same keys as of `simulate`.")],
    out: Annotated[Path, typer.Option(help="Folder for policies, labels and the report.")],
    url: Annotated[
        str | None, typer.Option(help="Drive this server instead of embedded parts.")
    ] = None,
    key: Annotated[
        str, typer.Option(envvar="ACTIVEDPO_API_KEY", help="With --url: an admin's API key.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Say the result as JSON.")] = False,
) -> None:
    """Run the loop unattended: generate, let the oracle label, train, evaluate, again."""
    from activedpo import unattended
    from activedpo.errors import ActiveDPOError
    from activedpo.simulation.config import InvalidConfig, read_config

    if url is not None and not key:
        raise Failure("--key: a server wants an admin's API key (or ACTIVEDPO_API_KEY)", USAGE)
    rows: list[dict[str, Any]] = []
    try:
        checked = read_config(config)
        unattended.check(checked)
        out.mkdir(parents=True, exist_ok=True)
        model = unattended.base_model(checked, out, _say)
        if url is not None:
            rows = asyncio.run(_drive(checked, _elsewhere(url, key), out, model))
        else:
            _embedded(checked, out, model, rows)
        results = unattended.write(rows, checked, out)
    except InvalidConfig as error:
        raise Failure(str(error), USAGE) from error
    except ActiveDPOError as error:
        raise Failure(str(error)) from error
    report = results.with_name("report.html")
    if json:
        show_json({"results": results, "report": report})
    else:
        print(f"{results}\n{report}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _elsewhere(url: str, key: str) -> AsyncClient:
    from activedpo.client import AsyncClient

    return AsyncClient(url, key)


def _here() -> AsyncClient:
    """The API in this process: no server, no port."""
    import httpx

    from activedpo.client import AsyncClient
    from app.main import create_app

    transport = httpx.ASGITransport(create_app())
    return AsyncClient("http://here", os.environ["ACTIVEDPO_API_KEY"], transport=transport)


async def _drive(
    config: SimulationConfig, client: AsyncClient, out: Path, model: str
) -> list[dict[str, Any]]:
    from activedpo import unattended

    async with client:
        return await unattended.run(config, client, out, model, _say)


def _embedded(config: SimulationConfig, out: Path, model: str, rows: list[dict[str, Any]]) -> None:
    """Database, broker and worker in OUT/home, for as long as the run takes."""
    from app.settings import get_settings
    from app.stack.home import HomeInUseError
    from app.stack.postgres import PostgresError
    from app.stack.process import PartFailedError
    from app.stack.redis import RedisError
    from app.stack.supervisor import Supervisor

    given = get_settings()
    kept = given.models_dir / model
    found = str(kept) if (kept / "config.json").is_file() else model
    own = {"home": (out / "home").absolute(), "database_url": None, "redis_url": None}
    settings = given.model_copy(update={**own, "artifacts": None, "api_key": None})
    os.environ.pop("ACTIVEDPO_ARTIFACTS", None)

    def work() -> None:
        rows.extend(asyncio.run(_drive(config, _here(), out, found)))

    try:
        Supervisor(settings, work=work).run()
    except (HomeInUseError, PartFailedError, PostgresError, RedisError) as error:
        raise Failure(str(error)) from error
    if not rows:
        raise Failure(f"stopped; run it again to go on in {out}")


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command()(run)
