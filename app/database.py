"""Engine, session and the only commit.

Everything below the edge flushes; :func:`transaction` (worker, command line) and
:data:`Db` (HTTP) commit, and ring the bells of :mod:`app.jobs` and tell the news of
:mod:`app.news` only once the commit stood.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import Annotated, Any

from anyio import CancelScope
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Connection, DateTime, Engine, MetaData, create_engine, event, func, make_url
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from uuid6 import uuid7

from app import faults, jobs, news, tracing
from app.settings import get_settings
from app.turns import turn

Json = dict[str, Any]

# A host that is cut off says no goodbye. Unless told otherwise a connection to it hangs for a
# quarter of an hour here, and on the server its locks stand for two hours.
GONE_AFTER = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
GONE_AFTER_THERE = "".join(
    f"SET {name} = {value};"
    for name, value in {
        "tcp_keepalives_idle": 15,
        "tcp_keepalives_interval": 5,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }.items()
)


class Base(DeclarativeBase):
    """Declarative base: constraints have predictable names, JSON is JSONB, times have zones."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy's own protocol)
        dt.datetime: DateTime(timezone=True),
        Json: JSONB,
        list[Any]: JSONB,
    }


def new_id() -> uuid.UUID:
    """A time-ordered, unguessable id: indexes stay local and pages follow creation."""
    return uuid.UUID(bytes=uuid7().bytes)


class Identified:
    """Primary key and creation time of every table with a life of its own."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


def sqlalchemy_url(url: str) -> str:
    """The same address with the psycopg 3 driver named."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    return url


@lru_cache
def get_engine() -> Engine:
    """The engine of this process."""
    url = get_settings().database_url
    if url is None:
        raise RuntimeError(
            "No database: set ACTIVEDPO_DATABASE_URL, or start the stack with `activedpo up`."
        )
    address = make_url(sqlalchemy_url(url))
    patience = {key: value for key, value in GONE_AFTER.items() if key not in address.query}
    engine = create_engine(
        address,
        pool_size=20,
        max_overflow=20,
        pool_pre_ping=True,
        hide_parameters=True,  # an error in the log must not tell prompts or labels
        # PgBouncer in transaction mode forgets server-side prepared statements
        connect_args={"prepare_threshold": None, **patience},
    )
    event.listen(engine, "connect", _notice_the_gone)
    tracing.of_statements(engine)
    return engine


def _notice_the_gone(connection: Any, _: Any) -> None:
    """Let the server end what a host that was cut off left open: 30 s later, not two hours."""
    with connection.cursor() as cursor:
        cursor.execute(GONE_AFTER_THERE)
    connection.commit()


@lru_cache
def _factory() -> sessionmaker[Session]:
    made = sessionmaker(get_engine(), expire_on_commit=False)
    event.listen(made, "after_begin", _see_that_it_fits)
    return made


@contextmanager
def transaction() -> Iterator[Session]:
    """One transaction: commits, then rings the bells and tells the news; or rolls back."""
    with _factory()() as session:
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
    _tell(session)


FORM = "application/x-www-form-urlencoded"


async def _request_session(request: Request) -> AsyncIterator[Session]:
    if request.headers.get("Content-Type", "").startswith(FORM):
        # A slow sender has no turn. Whoever reads the form finds it here, or has read it already
        with suppress(RuntimeError):
            await request.body()
    async with turn() as mine:
        session = _factory()(info={"turn": mine, "of_request": True})
        try:
            yield session
        except BaseException:
            await _in_thread(session, session.rollback)
            raise
        await _in_thread(session, partial(_commit, session))


async def _in_thread(session: Session, end: Callable[[], None]) -> None:
    """End a request's session where waiting for the database keeps nobody else, if it has anything
    to end: what has just been committed costs no way to another thread and back."""
    with CancelScope(shield=True):
        if session.in_transaction() or session.info.get("bells") or session.info.get("news"):
            await run_in_threadpool(end)


def _commit(session: Session) -> None:
    faults.point("request.committing")
    try:
        session.commit()
    except BaseException:
        session.rollback()
        raise
    _tell(session)
    faults.point("request.committed")


def _tell(session: Session) -> None:
    jobs.send(jobs.take(session))
    news.tell(news.take(session))


def _see_that_it_fits(session: Session, _: Any, connection: Connection) -> None:
    if "of_request" in session.info:
        from app import skew

        skew.check_again(connection)


def commit_now(session: Session) -> None:
    """Commit a request's session in the thread that took its locks, once all of it is said.

    Where many wait for one row, it is held this much shorter: the answer is still to be written and
    sent from thread to thread, and each hand-over costs milliseconds while others compute.
    """
    _commit(session)


def let_go(session: Session) -> None:
    """The request's session is committed and its turn is another's: it will wait for a while."""
    session.info["turn"].give_back()


# scope="function": the commit happens before the response is sent, so a commit that
# fails can never show success (FastAPI's default would commit after the answer).
Db = Annotated[Session, Depends(_request_session, scope="function")]
