"""The process that owns the accelerator: ``python -m worker.child FD PARENT``.

It imports torch once, keeps the last model loaded, does one run at a time on plain data that its
parent sends, and knows nothing of the database. If the parent dies, it ends itself; if it dies,
the parent counts a failed attempt.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import orjson

from activedpo.errors import ActiveDPOError, ran_out_of_memory
from app import artifacts
from worker import evaluate, generate, judge_work, machine, storage, train
from worker.loaded import Models
from worker.report import Report

COMPUTE = {
    "generate": generate.compute,
    "train": train.compute,
    "evaluate": evaluate.compute,
    "judge": judge_work.compute,
}
PR_SET_PDEATHSIG = 1


def main(fd: int, parent: int) -> None:
    """Serve the parent at the other end of ``fd`` until it goes."""
    _end_with(parent)
    _be_first_when_memory_ends()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    pipe, models = Connection(fd), Models()
    _import_early()
    pipe.send_bytes(orjson.dumps({"device": machine.described()}))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            kind = orjson.loads(pipe.recv_bytes())["kind"]
            for message in _do(kind, pipe.recv_bytes(), models, Report(pipe)):
                pipe.send_bytes(message)


def _do(kind: str, work: bytes, models: Models, report: Report) -> list[bytes]:
    machine.forget_peak()
    try:
        outcome = COMPUTE[kind](work, models, report)
        clock = report.clock() | {"memory": machine.peak()}
        return [orjson.dumps({"done": clock}), outcome]
    except (ActiveDPOError, artifacts.DamagedArtifactError) as error:
        return [_failed(str(error), final=True)]
    except Exception as error:
        if ran_out_of_memory(error):
            models.forget()
            return [_failed(_memory_advice(), final=True)]
        if advice := storage.full(error, "the worker's HOME"):
            return [_failed(advice, final=True)]
        traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return [_failed(f"{type(error).__name__} at {place}: {error}"[:2000], final=False)]


def _failed(message: str, *, final: bool) -> bytes:
    return orjson.dumps({"failed": message, "final": final})


def _memory_advice() -> str:
    return (
        "out of memory: lower the training's batch_size or max_length, or the generation's "
        "max_new_tokens, take a smaller base model, or a machine with more memory; then retry"
    )


def _import_early() -> None:
    import torch  # noqa: F401
    import transformers  # noqa: F401


def _end_with(parent: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    # Linux counts the end of the parent's *thread*; other systems have no such signal at all
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _be_first_when_memory_ends() -> None:
    # so that the kernel takes this process, which can be replaced, and not Postgres or the worker
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("600")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
