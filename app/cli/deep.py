"""``activedpo doctor --deep``: each part proved by using it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.doctor import Finding

if TYPE_CHECKING:
    from app.settings import Settings

TASK = "activedpo.answer"
ANSWER_SECONDS = 10
MODEL_SECONDS = 900

TRY_MODEL = """
import json, sys, tempfile, time
import activedpo as ad
name, device, dtype = sys.argv[1:4]
begun = time.monotonic()
policy = ad.load(name, device=device or None, dtype=dtype or None)
loaded = time.monotonic()
pairs = ad.generate_pairs(policy, ["Say something kind."], max_new_tokens=8, seed=0)
generated = time.monotonic()
given = ad.Pair("Say something kind.", " Well done, and thank you.", " No.")
with tempfile.TemporaryDirectory() as out:
    ad.train_dpo(policy, [ad.Preference(given, p=1.0)], lora=4, max_steps=1, out=out)
print(json.dumps({"load": loaded - begun, "generate": generated - loaded,
                  "train": time.monotonic() - generated, "device": str(policy.device)}))
"""


def artifacts(settings: Settings) -> Finding:
    """Write a file to the artefact store, read it back, remove it."""
    from app import artifacts as store

    path, content = f"doctor/{uuid.uuid4().hex}", os.urandom(1 << 16)
    todo = f"see that {settings.artifacts_url} can be written, read and cleared from here"
    try:
        with tempfile.TemporaryDirectory() as folder:
            given, back = Path(folder, "given"), Path(folder, "back")
            given.mkdir()
            (given / "file").write_bytes(content)
            files = store.put_folder(given, path)
            same = (store.fetch_folder(path, files, back) / "file").read_bytes() == content
        store.remove_folder(path)
    except Exception as error:  # an object store fails in ways of its own
        return Finding("artefacts", False, f"{type(error).__name__}: {error}"[:300], todo)
    return Finding(
        "artefacts", same, f"written, read and removed in {settings.artifacts_url}", todo
    )


def queues(settings: Settings) -> list[Finding]:
    """Send a task to every queue, and wait until a worker has answered it."""
    from celery import Celery

    from app.jobs import QUEUES

    if settings.redis_url is None:
        return [Finding("queues", False, "no broker to send over", "activedpo up")]
    tokens = {queue: uuid.uuid4().hex for queue in QUEUES}
    try:
        sender = Celery("activedpo", broker=settings.redis_url, set_as_current=False)
        for queue, token in tokens.items():
            sender.send_task(TASK, args=[token], queue=queue, expires=ANSWER_SECONDS, retry=False)
        return [_answered(settings.redis_url, *sent) for sent in tokens.items()]
    except Exception as error:
        return [Finding("queues", False, f"{type(error).__name__}", "check ACTIVEDPO_REDIS_URL")]


def _answered(url: str, queue: str, token: str) -> Finding:
    import redis

    from app.jobs import CAPABILITIES

    begun = time.monotonic()
    # the client's own patience would end before the answer's
    with redis.Redis.from_url(url, socket_timeout=ANSWER_SECONDS + 5) as client:
        answer: Any = client.blpop([f"{TASK}.{token}"], timeout=ANSWER_SECONDS)
    if answer is None:
        capability = next(name for name, served in CAPABILITIES.items() if queue in served)
        todo = f"activedpo worker --takes {capability}; see its log, if one runs"
        return Finding(f"queue {queue}", False, f"no answer within {ANSWER_SECONDS} s", todo)
    took = time.monotonic() - begun
    return Finding(f"queue {queue}", True, f"answered by {answer[1].decode()} in {took:.2f} s")


def model(settings: Settings) -> Finding:
    """Load the default base model, generate a pair, train one step, in a process of its own."""
    name = settings.default_base_model
    kept = settings.models_dir / name
    wanted = str(kept) if kept.is_dir() else name
    command = [sys.executable, "-c", TRY_MODEL, wanted, settings.device or "", settings.dtype or ""]
    try:
        ran = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=MODEL_SECONDS
        )
    except subprocess.TimeoutExpired:
        todo = "take a smaller model or another device"
        return Finding("model at work", False, f"not done in {MODEL_SECONDS} s", todo)
    if ran.returncode != 0:
        last = (ran.stderr.strip().splitlines() or ["no output"])[-1]
        todo = "name another ACTIVEDPO_DEFAULT_BASE_MODEL, or put it into HOME/models"
        return Finding("model at work", False, f"{name}: {last}"[:300], todo)
    took = json.loads(ran.stdout.strip().splitlines()[-1])
    detail = ", ".join(f"{what} {took[what]:.1f} s" for what in ("load", "generate", "train"))
    return Finding("model at work", True, f"{name} on {took['device']}: {detail}")


def deep(settings: Settings) -> list[Finding]:
    """All of it; ``settings`` are those after the database was found."""
    single: tuple[Callable[[Settings], Finding], ...] = (artifacts, model)
    return [*queues(settings), *(check(settings) for check in single)]
