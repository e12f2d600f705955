"""The process that owns the accelerator: ``python -m worker.child FD PARENT``.

It imports torch once, keeps the last model loaded, does one run at a time on plain data that its
parent sends, and knows nothing of the database. If the parent dies, it ends itself; if it dies,
the parent counts a failed attempt. SIGTERM ends a training behind its next checkpoint, which is
made at once, and everything else on the spot.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType

import orjson

from activedpo.errors import ran_out_of_memory
from worker import compare, evaluate, failure, generate, judge_work, machine, mortal, train
from worker.loaded import Models
from worker.report import Report

COMPUTE = {
    "generate": generate.compute,
    "train": train.compute,
    "evaluate": evaluate.compute,
    "compare": compare.compute,
    "try": compare.compute,
    "judge": judge_work.compute,
}


def main(fd: int, parent: int) -> None:
    """Serve the parent at the other end of ``fd`` until it goes."""
    mortal.end_with(parent)
    mortal.be_first_when_memory_ends()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    pipe, models, halt = Connection(fd), Models(), threading.Event()
    _import_early()
    pipe.send_bytes(orjson.dumps({"device": machine.described()}))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            kind = orjson.loads(pipe.recv_bytes())["kind"]
            signal.signal(signal.SIGTERM, _halting(halt) if kind == "train" else signal.SIG_DFL)
            for message in _do(kind, pipe.recv_bytes(), models, Report(pipe, halt)):
                pipe.send_bytes(message)


def _do(kind: str, work: bytes, models: Models, report: Report) -> list[bytes]:
    machine.forget_peak()
    try:
        outcome = COMPUTE[kind](work, models, report)
        clock = report.clock() | {"memory": machine.peak()}
        return [orjson.dumps({"done": clock}), outcome]
    except Exception as error:
        if ran_out_of_memory(error):
            models.forget()
        return [orjson.dumps(failure.told(error))]


def _halting(halt: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: halt.set()


def _import_early() -> None:
    import torch  # noqa: F401
    import transformers  # noqa: F401


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
