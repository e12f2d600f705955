"""The client when the server dies or its key is taken away: nothing lost, nothing doubled."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from activedpo.client import Answer, ApiError, Client
from app.database import transaction
from app.models import ApiKey, Person, Preference, PreferenceVersion
from app.people import actions as people
from app.stack.redis import free_port

Make = Callable[..., Any]


class Site:
    """``activedpo serve`` as a process of its own on the test's database."""

    def __init__(self, folder: Path) -> None:
        self.port, self.faults = free_port(), folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        more = {"ACTIVEDPO_PORT": str(self.port), "ACTIVEDPO_FAULTS": str(self.faults)}
        command = [sys.executable, "-m", "app.cli", "serve"]
        self.process = subprocess.Popen(command, env=os.environ | more)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/healthz")
                return
            except httpx.TransportError:
                time.sleep(0.1)
        raise TimeoutError("the server did not start")

    def kill_at(self, point: str) -> None:
        """The server kills itself when it next comes there, and is started again."""
        (self.faults / f"{point}.kill").touch()
        threading.Thread(target=self._again, daemon=True).start()

    def _again(self) -> None:
        assert self.process is not None
        assert self.process.wait(60) == -signal.SIGKILL
        self.start()

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)


@pytest.fixture
def site(database: Any, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.start()
    yield made
    made.end()


@pytest.mark.parametrize("point", ["request.committing", "request.committed"])
def test_the_server_killed_in_a_batch_of_claims_and_in_one_of_answers(
    lab: Make, site: Site, point: str
) -> None:
    it = lab(60)
    it.open()
    project = str(it.project_id)
    with Client(site.url, it.key, tries=10) as client:
        site.kill_at(point)
        claims = client.claims(project, count=40)  # the reply is lost with the server
        assert len({claim.id for claim in claims}) == 40
        assert len(it.claims("live")) == 40
        assert (site.faults / f"{point}.killed").exists()
        (site.faults / f"{point}.killed").unlink()
        site.kill_at(point)
        outcomes = client.answer(*(Answer(claim.id, "left") for claim in claims))
        assert all(one.stored for one in outcomes)
        assert {one.claim for one in outcomes} == {claim.id for claim in claims}
        assert (site.faults / f"{point}.killed").exists()
        rest = client.claims(project, count=100)
        client.answer(*(Answer(claim.id, "right") for claim in rest))
    assert len(it.labels()) == 60
    assert len({label.pair_id for label in it.labels()}) == 60
    with transaction() as s:
        assert s.scalar(select(func.count()).select_from(PreferenceVersion)) == 60
        assert s.scalar(select(func.count()).select_from(Preference)) == 60
    assert it.round().state == "training"


def test_the_key_revoked_in_the_middle_of_a_batch(lab: Make, site: Site) -> None:
    it = lab(30)
    it.open()
    project = str(it.project_id)
    with transaction() as s:
        owner = s.get_one(Person, it.owner_id)
        _, key = people.add_key(s, owner, "oracle", project_id=it.project_id)
    with Client(site.url, key, tries=10) as client:
        claims = client.claims(project, count=20)
        client.answer(*(Answer(claim.id, "left") for claim in claims[:10]))
        with transaction() as s:
            query = select(ApiKey).where(ApiKey.scope == "oracle")
            s.scalars(query).one().revoked_at = dt.datetime.now(dt.UTC)
        with pytest.raises(ApiError) as refused:
            client.answer(*(Answer(claim.id, "left") for claim in claims[10:]))
        assert refused.value.status == 401
        assert "revoked" in str(refused.value)
    assert len(it.labels()) == 10
    with Client(site.url, it.key, tries=10) as client:  # the same oracle with a new key goes on
        held = client.held(project)
        assert {claim.id for claim in held} == {claim.id for claim in claims[10:]}
        outcomes = client.answer(*(Answer(claim.id, "right") for claim in held))
        assert [one.status for one in outcomes] == [201] * 10
        rest = client.claims(project, count=100)
        client.answer(*(Answer(claim.id, "left") for claim in rest))
    assert len(it.labels()) == 30
    assert it.round().state == "training"
