"""Several processes for one training: the child is the first of them and starts the others.

They live within one run: whoever fails ends all of them, the child last, and its parent is told
why once. They end when the child ends, so a cancellation or a lost hold needs to kill that alone.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import Any

import orjson

from activedpo.errors import ActiveDPOError
from app.settings import get_settings
from worker import failure
from worker.report import Report

GRACE_SECONDS = 10.0
"""How long who has lost another waits for that one's own words."""

PATIENCE = dt.timedelta(days=1)
"""Of a process for the others: who is dead is noticed at once, who is slow is not."""


class Ranks:
    """The other processes of a training, as a context around it.

    Args:
        count: processes in all, this one included.
        work: the training, as it came.
        report: of this run; the parent hears through it why all of them ended.
    """

    def __init__(self, count: int, work: bytes, report: Report) -> None:
        self._count, self._work, self._report = count, work, report
        self._processes: dict[Connection, subprocess.Popen[bytes]] = {}
        self._speaking = threading.Lock()
        self._over = threading.Event()
        self._threads = 1

    def __enter__(self) -> None:
        import torch
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        devices = devices_of(self._count)
        self._threads = torch.get_num_threads()
        each = max(1, self._threads // self._count) if devices[0] == "cpu" else self._threads
        store = TCPStore("127.0.0.1", 0, self._count, is_master=True, wait_for_workers=False)
        for rank in range(1, self._count):
            self._start(rank, devices[rank], store.port, each)
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()
        torch.set_num_threads(each)
        try:
            join(0, self._count, devices[0], store)
        except Exception as error:
            self._end_by(error)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import torch

        if isinstance(error, Exception):
            self._end_by(error)
        self._over.set()
        torch.distributed.destroy_process_group()
        torch.set_num_threads(self._threads)
        for pipe, process in self._processes.items():
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
            process.kill()
            process.wait()
            pipe.close()

    def _start(self, rank: int, device: str, port: int, threads: int) -> None:
        ours, theirs = Pipe()
        place = [str(value) for value in (rank, self._count, port)]
        with theirs:
            process = subprocess.Popen(  # noqa: S603
                [
                    sys.executable,
                    "-m",
                    "worker.rank",
                    str(theirs.fileno()),
                    str(os.getpid()),
                    *place,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"ACTIVEDPO_DEVICE": device, "OMP_NUM_THREADS": str(threads)},
            )
        self._processes[ours] = process
        threading.Thread(target=_send, args=(ours, self._work), daemon=True).start()

    def _watch(self) -> None:
        """End everything once a process says that it failed, or is gone without a word."""
        listened, first = list(self._processes), None
        deadline = float("inf")
        while listened and not self._over.is_set():
            for pipe in wait(listened, timeout=0.5):
                assert isinstance(pipe, Connection)
                listened.remove(pipe)
                message = self._words_of(pipe)
                if message is None:
                    continue
                if not message.get("lost"):
                    self._end(message)
                first = first or message
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
            if first is not None and time.monotonic() > deadline:
                self._end(first)
        # All others lost somebody, or stop because all were told to: this one has its own words,
        # and of a stop the checkpoint's place
        if first is not None and not self._over.wait(max(0.0, deadline - time.monotonic())):
            self._end(first)

    def _words_of(self, pipe: Connection) -> dict[str, Any] | None:
        """What a process says at its end; None where it has done its part."""
        try:
            message: dict[str, Any] = orjson.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return {"failed": self._obituary(pipe), "final": False}
        return message if "failed" in message else None

    def _obituary(self, pipe: Connection) -> str:
        process = self._processes[pipe]
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        rank = list(self._processes).index(pipe) + 1
        if process.returncode == -9:
            return (
                f"process {rank} of the {self._count} that train together was killed (signal 9), "
                "as the system does when memory runs out: a smaller model or batch needs less"
            )
        return f"process {rank} of the {self._count} that train together ended by itself"

    def _end_by(self, error: Exception) -> None:
        if lost_another(error):
            # what that one has to say, `_watch` tells
            time.sleep(GRACE_SECONDS + 2)
        self._end(failure.told(error))

    def _end(self, message: dict[str, Any]) -> None:
        with self._speaking:
            if self._over.is_set():
                return
            with suppress(OSError):
                self._report.send({**message, "over": True})
            # the others follow: they end with this process
            os._exit(1)


def join(rank: int, count: int, device: str, store: Any) -> None:
    """Make this process one of those that train together."""
    import torch

    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    elif sys.platform.startswith("linux"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=count, timeout=PATIENCE
    )


def devices_of(count: int) -> list[str]:
    """A device for each process: GPUs one after the other, or the CPU for all.

    Raises:
        ActiveDPOError: there are not as many.
    """
    import torch

    from activedpo.loading import pick_device

    device = pick_device(get_settings().device)
    if device.type == "cpu":
        return ["cpu"] * count
    first = device.index or 0
    there = torch.cuda.device_count() - first if device.type == "cuda" else 1
    if count > there:
        raise ActiveDPOError(
            f"the training asks for {count} processes, one a device, but this worker has {there} "
            f"from {device} on: lower training.processes, or give it more devices"
        )
    return [f"{device.type}:{first + rank}" for rank in range(count)]


def lost_another(error: BaseException) -> bool:
    """Whether an error says no more than that another process is gone."""
    import torch

    told = str(error).lower()
    known = ("connection closed by peer", "connection reset by peer", "gloo", "nccl")
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(words in told for words in known)
    )


def _send(pipe: Connection, work: bytes) -> None:
    with suppress(OSError):  # it is gone: `_watch` notices
        pipe.send_bytes(work)
