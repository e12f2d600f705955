"""Reading ahead: the next batch is read and checked while Postgres stores the one before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
_END = object()


@contextmanager
def ahead(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """The same items, made in a thread that is one of them ahead.

    At the end of the context the thread has ended, so that what it reads from may be closed. An
    error in it is raised where its item would have come.
    """
    made: queue.Queue[object] = queue.Queue(1)
    over = threading.Event()
    thread = threading.Thread(target=_make, args=(items, made, over), name="reading ahead")
    thread.start()
    try:
        yield _taken(made)
    finally:
        over.set()
        while thread.is_alive():
            _drain(made)
            thread.join(0.05)


def _make(items: Iterable[object], made: queue.Queue[object], over: threading.Event) -> None:
    end: object = _END
    try:
        for item in items:
            made.put(item)
            if over.is_set():
                return
    except BaseException as error:
        end = _Failed(error)
    made.put(end)


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _taken(made: queue.Queue[object]) -> Iterator[Any]:
    while True:
        item = made.get()
        if item is _END:
            return
        if isinstance(item, _Failed):
            raise item.error
        yield item


def _drain(made: queue.Queue[object]) -> None:
    try:
        made.get_nowait()
    except queue.Empty:
        return
