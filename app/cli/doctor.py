"""``activedpo doctor``: what this machine has, what the stack sees, and what is wrong."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import FAILED, Failure, find_database, show_json, show_table

if TYPE_CHECKING:
    from app.settings import Settings

GIB = 1 << 30
LEAST_DISK, LEAST_RAM = 5 * GIB, 4 * GIB
PROBE = """
import json, sys
from activedpo.loading import pick_device, pick_dtype
import torch
device = pick_device(sys.argv[1] or None)
name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
print(json.dumps({"torch": torch.__version__, "device": str(device), "name": name,
                  "dtype": str(pick_dtype(sys.argv[2] or None, device)).removeprefix("torch."),
                  "threads": torch.get_num_threads()}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``todo`` says what to do where ``ok`` is false."""

    name: str
    ok: bool
    detail: str
    todo: str = ""


def machine(_: Settings) -> list[Finding]:
    """Operating system, Python, processor and memory."""
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        Finding("machine", True, f"{platform.platform()}, {cores} cores"),
        Finding("python", True, f"{platform.python_version()} ({sys.executable})"),
        Finding(
            "memory",
            memory.available >= LEAST_RAM,
            f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free",
            "close other programs: the demo's worker needs about 4 GiB",
        ),
    ]


def disk(settings: Settings) -> list[Finding]:
    """Free space where HOME is or will be."""
    place = settings.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return [
        Finding(
            "disk",
            free >= LEAST_DISK,
            f"{free / GIB:.1f} GiB free for {settings.home}",
            f"free {LEAST_DISK / GIB:.0f} GiB, or set ACTIVEDPO_HOME to another disk",
        )
    ]


def accelerator(settings: Settings) -> list[Finding]:
    """Device and number format of the worker, asked of torch in a process of its own."""
    asked = subprocess.run(  # noqa: S603
        [sys.executable, "-c", PROBE, settings.device or "", settings.dtype or ""],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode != 0:
        last = (asked.stderr.strip().splitlines() or ["no output"])[-1]
        todo = "check ACTIVEDPO_DEVICE and ACTIVEDPO_DTYPE, or install the package again"
        return [Finding("device", False, last, todo)]
    seen = json.loads(asked.stdout)
    name = f" ({seen['name']})" if seen["name"] else ""
    return [
        Finding("torch", True, f"{seen['torch']}, {seen['threads']} threads"),
        Finding("device", True, f"{seen['device']}{name}"),
        Finding("dtype", True, seen["dtype"]),
    ]


def database(_: Settings) -> list[Finding]:
    """The database and whether its schema is this version's."""
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    from app import migrate
    from app.database import get_engine

    try:
        find_database()
        with get_engine().connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
        current, head = migrate.current(get_engine()), migrate.head()
    except Failure as failure:
        return [Finding("database", False, str(failure), "activedpo up")]
    except SQLAlchemyError as error:
        first = str(error.__cause__ or error).splitlines()[0]
        return [Finding("database", False, first, "check ACTIVEDPO_DATABASE_URL")]
    return [
        Finding("database", True, f"PostgreSQL {version}"),
        Finding("migrations", current == head, f"{current} of {head}", "activedpo migrate"),
    ]


def broker(_: Settings) -> list[Finding]:
    """The broker of the wake-up calls."""
    import redis

    from app.settings import get_settings

    url = get_settings().redis_url
    if url is None:
        return [Finding("broker", False, "none", "activedpo up, or set ACTIVEDPO_REDIS_URL")]
    try:
        with redis.Redis.from_url(url) as client:
            version = client.info("server")["redis_version"]
    except (redis.RedisError, ValueError) as error:
        return [Finding("broker", False, str(error), "check ACTIVEDPO_REDIS_URL")]
    return [Finding("broker", True, f"Redis {version}")]


def model(settings: Settings) -> list[Finding]:
    """Whether the default base model is on this machine."""
    name = settings.default_base_model
    places = [settings.models_dir / name, Path(name), _hub_cache() / f"models--{_flat(name)}"]
    for place in places:
        if place.is_dir():
            return [Finding("model", True, f"{name} in {place}")]
    detail = f"{name} is not on this machine; the hub is asked for it at first use"
    return [Finding("model", True, detail)]


def _flat(name: str) -> str:
    return name.replace("/", "--")


def _hub_cache() -> Path:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub"))


CHECKS: tuple[Callable[[Settings], list[Finding]], ...] = (
    machine,
    disk,
    accelerator,
    database,
    broker,
    model,
)


def doctor(
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Use each part too: artefacts, every queue, one training step."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what machine, device, database, broker and model are seen, and what is wrong."""
    from app.settings import get_settings

    settings = get_settings()
    findings = [finding for check in CHECKS for finding in check(settings)]
    if deep:
        from app.cli import deep as proofs

        findings += proofs.deep(get_settings())  # which know the running stack's addresses by now
    faults = [finding for finding in findings if not finding.ok]
    if as_json:
        show_json({"ok": not faults, "checks": [asdict(finding) for finding in findings]})
    else:
        rows = [(f.name, "ok" if f.ok else "WRONG", f.detail) for f in findings]
        show_table(("what", "state", "seen"), rows)
        for fault in faults:
            print(f"{fault.name}: {fault.todo}")
    if faults:
        raise typer.Exit(FAILED)


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command()(doctor)
