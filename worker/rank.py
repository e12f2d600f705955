"""One of the processes that train together: ``python -m worker.rank FD PARENT RANK COUNT PORT``.

It does what the child does, on the same labels and with the same weights; only the child reports,
writes checkpoints and saves.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection

import orjson

from activedpo.errors import Interrupted
from app import faults
from app.settings import get_settings
from worker import failure, mortal, ranks, train
from worker.loaded import Models


def main(fd: int, parent: int, rank: int, count: int, port: int) -> None:
    """Take part in one training and end."""
    mortal.end_with(parent)
    mortal.be_first_when_memory_ends()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to handle
    pipe = Connection(fd)
    try:
        _train(pipe.recv_bytes(), rank, count, port)
    except Exception as error:
        # The first one has more to say of an end that was wished for than this one
        lost = isinstance(error, Interrupted) or ranks.lost_another(error)
        pipe.send_bytes(orjson.dumps(failure.told(error) | {"lost": lost}))
        os._exit(1)  # without a farewell to the others, which would wait for them
    pipe.send_bytes(b"{}")


def _train(work: bytes, rank: int, count: int, port: int) -> None:
    from torch.distributed import (  # type: ignore[attr-defined]
        TCPStore,
        destroy_process_group,
    )

    store = TCPStore("127.0.0.1", port, count, is_master=False)
    ranks.join(rank, count, str(get_settings().device), store)
    faults.point("rank.training")
    train.take_part(work, Models())
    destroy_process_group()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
