"""Table of the worker processes, and what each has counted since it started."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Identified, Json

TALLIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "runs": ("Model work that ended, by how it ended.", ("kind", "outcome")),
    "run_seconds": ("Time from taking model work to its end.", ("kind", "outcome")),
    "retries": ("Model work taken that somebody had tried before.", ("kind",)),
    "lease_losses": ("Holds that were lost while at work: nothing was stored.", ("kind",)),
    "stage_seconds": ("Time on the accelerator, by stage.", ("kind", "stage")),
    "pairs": ("Pairs that went through a stage; training counts each epoch.", ("kind", "stage")),
    "tokens": ("Tokens generated, scored or trained on, by stage.", ("kind", "stage")),
}
"""What a worker counts: help and labels of each counter. They only rise while it lives."""

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "peak_memory_bytes": ("Most memory that the last work of a kind took.", ("kind", "where")),
}
"""What a worker measures anew with every work."""


class Worker(Identified, Base):
    """A worker process that says every few seconds that it is there.

    ``owner`` is what its leases are held under. ``device`` is empty until its first model work,
    then ``{"name", "model", "memory_bytes"}``. ``tallies`` is, by counter, a figure for each
    combination of labels, joined by "|". What it says of itself promises nothing: whether a hold
    stands is decided by the lease alone.
    """

    __tablename__ = "workers"
    __table_args__ = (UniqueConstraint("owner"), Index("ix_workers_seen_at", "seen_at"))

    owner: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    queues: Mapped[list[Any]] = mapped_column(default=list)
    device: Mapped[Json] = mapped_column(default=dict)
    version: Mapped[str]
    revision: Mapped[str | None]
    seen_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    stopped_at: Mapped[dt.datetime | None]
    tallies: Mapped[Json] = mapped_column(default=dict)
