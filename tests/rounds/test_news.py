"""What changed is told to whoever watches, once it stands; and nobody waits for Redis."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import news
from app.database import transaction
from app.stack import process
from app.stack.redis import Redis

pytestmark = pytest.mark.timeout(60)


def change(about: uuid.UUID) -> None:
    with transaction() as session:
        news.note(session, about)


def change_in_vain(about: uuid.UUID) -> None:
    with transaction() as session:
        news.note(session, about)
        raise ZeroDivisionError


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks because it is time to."""
    monkeypatch.setattr(news, "LOOK_ANYWAY_SECONDS", 1_000)
    monkeypatch.setattr(news, "_told_nobody_at", float("-inf"))


def test_it_is_heard_once_committed_by_who_listens_to_it_alone(redis_url: str) -> None:
    mine, other = uuid.uuid4(), uuid.uuid4()

    async def watch() -> None:
        async with news.listening(mine) as ear, news.listening(other) as deaf:
            await until(lambda: ear._listener.hears)
            assert deaf._listener is ear._listener
            for each in (ear, deaf):
                each.forget()
            with transaction() as session:
                news.note(session, mine)
                await asyncio.sleep(0.3)
                assert not ear._heard.is_set()
            await asyncio.wait_for(ear.wait(), 10)
            assert not deaf._heard.is_set()

    asyncio.run(watch())


def test_what_was_rolled_back_is_told_nobody(redis_url: str) -> None:
    mine = uuid.uuid4()

    async def watch() -> None:
        async with news.listening(mine) as ear:
            await until(lambda: ear._listener.hears)
            ear.forget()
            with pytest.raises(ZeroDivisionError):
                change_in_vain(mine)
            await asyncio.sleep(0.3)
            assert not ear._heard.is_set()

    asyncio.run(watch())


def test_what_happened_while_the_last_one_left_is_heard_by_the_next(redis_url: str) -> None:
    mine = uuid.uuid4()

    async def watch() -> None:
        for _ in range(5):  # each time the subscription ends with who listened, and begins anew
            async with news.listening(mine) as ear:
                await until(lambda ear=ear: ear._listener.hears)
                ear.forget()
                await asyncio.to_thread(change, mine)
                await asyncio.wait_for(ear.wait(), 10)

    asyncio.run(watch())


class Server:
    """A Redis that comes and goes, always at one address."""

    def __init__(self, home: Path) -> None:
        self.redis = Redis(home)
        self.redis.prepare()
        self.log = home / "redis.log"
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.log, "wb") as log:
            self.running = self.redis.start(log)
        process.wait_until(self.redis.ready, self.running, 30, "redis")

    def stop(self) -> None:
        if self.running is not None:
            process.stop(self.running, Redis.stop_signal, 10)
            self.running = None


@pytest.fixture
def server(
    redis_url: str,
    tmp_path: Path,
    forget: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Server]:
    made = Server(tmp_path)
    monkeypatch.setenv("ACTIVEDPO_REDIS_URL", made.redis.url())
    forget()
    yield made
    made.stop()


def test_without_redis_one_looks_as_often_as_before(server: Server) -> None:
    async def watch() -> None:
        mine = uuid.uuid4()
        async with news.listening(mine) as ear:
            ear.forget()
            await asyncio.wait_for(ear.wait(), 0.5)  # deaf: it is always time to look
            await asyncio.to_thread(change, mine)  # and whoever tells, tells nobody

    asyncio.run(watch())
    assert news._told_nobody_at > 0


def test_redis_goes_and_comes_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "QUIET_SECONDS", 0.0)
    mine = uuid.uuid4()

    async def watch() -> None:
        server.start()
        async with news.listening(mine) as ear:
            await until(lambda: ear._listener.hears)
            ear.forget()
            await asyncio.to_thread(server.stop)
            await asyncio.wait_for(ear.wait(), 10)
            assert not ear._listener.hears
            ear.forget()
            await asyncio.to_thread(server.start)
            await until(lambda: ear._listener.hears)
            assert ear._heard.is_set()  # of what was said meanwhile nothing was heard
            ear.forget()
            await asyncio.to_thread(change, mine)
            await asyncio.wait_for(ear.wait(), 10)

    asyncio.run(watch())
