"""More requests at once than there are threads: those that wait keep nobody from going on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from app.audit import queries
from app.database import get_engine
from app.turns import AT_ONCE
from tests.api.conftest import PASSWORD

pytestmark = pytest.mark.timeout(60)
MANY = 60
"""More than the 40 threads and the 40 connections of a process."""


def visitor(app: Any, key: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(
        transport=transport, base_url="http://testserver", headers=headers, timeout=50
    )


def a_claim(cast: Any, project: str) -> str:
    claims = cast.annotator.post(f"{project}/claims", json={"count": 1}).json()
    return str(claims["items"][0]["id"])


def test_who_holds_a_lock_goes_on_though_sixty_wait_for_it(
    app: Any, cast: Any, imported: str, database: Engine
) -> None:
    claim = a_claim(cast, imported)

    async def renewals() -> list[int]:
        async with visitor(app, cast.annotator.key) as client:
            asked = [
                asyncio.create_task(client.post(f"/api/v1/claims/{claim}/renew"))
                for _ in range(MANY)
            ]
            await asyncio.sleep(2)
            held.rollback()
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    with database.connect() as held:
        held.execute(text("SELECT id FROM claims WHERE id = :id FOR UPDATE"), {"id": claim})
        assert asyncio.run(renewals()) == [200] * MANY


def test_downloads_leave_threads_and_connections_to_others(
    app: Any, cast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = threading.Event()

    def slow(_: Any) -> Iterator[dict[str, Any]]:
        with get_engine().connect() as connection:
            connection.execute(text("SELECT 1"))
            on.wait(30)
            yield {"a": 1}

    monkeypatch.setattr(queries, "everything", slow)

    async def downloads() -> tuple[int, set[bytes]]:
        async with visitor(app, cast.owner.key) as client:
            path = f"{cast.project}/events/export"
            asked = [asyncio.create_task(client.get(path)) for _ in range(MANY)]
            await asyncio.sleep(1)
            async with asyncio.timeout(10):
                other = await client.get(f"{cast.project}/events")
            on.set()
            return other.status_code, {one.content for one in await asyncio.gather(*asked)}

    assert asyncio.run(downloads()) == (200, {b'{"a":1}\n'})


def test_long_polls_have_no_turn_while_they_wait(app: Any, cast: Any, imported: str) -> None:
    a_claim(cast, imported)
    path = f"{imported}/claims"

    async def polls() -> tuple[set[int], bool]:
        async with visitor(app, cast.owner.key) as client:
            await client.post(path, json={"count": 100})  # nothing is left
            asked = [
                asyncio.create_task(client.post(path, json={"count": 1, "wait": 6}))
                for _ in range(AT_ONCE + 8)
            ]
            await asyncio.sleep(2)
            answer = await client.get(imported)
            over = any(one.done() for one in asked)
            await asyncio.gather(*asked)
            return {answer.status_code}, over

    assert asyncio.run(polls()) == ({200}, False)


def test_who_sends_a_form_slowly_has_no_turn_meanwhile(app: Any, cast: Any, imported: str) -> None:
    async def slow() -> tuple[int, set[int]]:
        rest = asyncio.Event()

        async def form() -> AsyncIterator[bytes]:
            yield b"name=Harbour"
            await rest.wait()
            yield b"&csrf_token=none"

        async with (
            visitor(app, cast.owner.key) as client,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://testserver"
            ) as others,
        ):
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            door = {"email": cast.admin.email, "password": PASSWORD}
            assert (await others.post("/sign-in", data=door)).status_code == 303
            sent = [
                asyncio.create_task(others.post("/groups", content=form(), headers=kind))
                for _ in range(AT_ONCE + 8)
            ]
            await asyncio.sleep(1)
            answer = await client.get(imported)
            rest.set()
            refused = {one.status_code for one in await asyncio.gather(*sent)}
            return answer.status_code, refused

    assert asyncio.run(slow()) == (200, {403})
