"""The client, `oracle run` and the oracle of the documentation against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from activedpo.client import Answer, ApiError, AsyncClient, Client, Unreachable
from activedpo.oracles.remote import as_answer
from app.main import create_app

Make = Callable[..., Any]
DOCS = Path(__file__).parents[2] / "docs" / "oracles.md"


@pytest.fixture
def site(database: Any) -> Iterator[str]:
    """The address of a real server on the test's database."""
    config = uvicorn.Config(create_app(), port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def test_a_batch_by_the_client(lab: Make, site: str) -> None:
    it = lab(6)
    it.open()
    project = str(it.project_id)
    with Client(site, it.key) as client:
        claims = client.claims(project, count=4)
        assert [claim.id for claim in client.held(project)] == [claim.id for claim in claims]
        outcomes = client.answer(*(Answer(claim.id, "left", p_left=0.9) for claim in claims))
        assert [one.status for one in outcomes] == [201] * 4
        assert all(one.stored and one.preference for one in outcomes)
        again = client.answer(Answer(claims[0].id, "left"), Answer(claims[0].id, "right"))
        assert [one.status for one in again] == [200, 409]
        client.release(*(claim.id for claim in client.claims(project, count=1)))
        assert len(client.claims(project, count=9)) == 2
        assert len(list(client.items(f"/projects/{project}/preferences", limit=1))) == 4
        assert client.get(f"/projects/{project}")["name"] == "Lab"


def test_the_same_asynchronously(lab: Make, site: str) -> None:
    it = lab(4)
    it.open()

    async def work() -> list[int]:
        async with AsyncClient(site, it.key) as client:
            claims = await client.claims(str(it.project_id), count=10)
            outcomes = await client.answer(*(Answer(claim.id, "right") for claim in claims))
            return [one.status for one in outcomes]

    assert asyncio.run(work()) == [201] * 4
    assert it.round().state == "training"


def test_errors_say_what_the_server_said(lab: Make, site: str) -> None:
    it = lab(1)
    with Client(site, "adpo_wrong_key_wrong_key") as client, pytest.raises(ApiError) as caught:
        client.claims(str(it.project_id))
    assert caught.value.status == 401
    with Client("http://127.0.0.1:9", it.key, tries=2) as client, pytest.raises(Unreachable):
        client.get("/me")


class Flaky(httpx.BaseTransport):
    """Carries every request out, and loses the answers that it is told to lose."""

    def __init__(self, lose: set[int], status: int | None = None) -> None:
        self.inner, self.lose, self.count = httpx.HTTPTransport(), lose, 0
        self.status = status  # said instead of the answer; None: the connection breaks

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.count += 1
        response = self.inner.handle_request(request)
        response.read()
        if self.count in self.lose and self.status is not None:
            return httpx.Response(self.status, json={"title": "lost"}, request=request)
        if self.count in self.lose:
            raise httpx.ReadError("lost", request=request)
        return response

    def close(self) -> None:
        self.inner.close()


def test_lost_replies_double_nothing(lab: Make, site: str) -> None:
    it = lab(6)
    it.open()
    with Client(site, it.key) as client:
        client._http._transport = Flaky({1, 3, 4})
        claims = client.claims(str(it.project_id), count=3)  # 1 is lost, 2 is told the same
        assert len(claims) == 3
        outcomes = client.answer(*(Answer(claim.id, "left") for claim in claims))
        assert [one.status for one in outcomes] == [200] * 3  # 3 and 4 were lost, 5 says so
        more = client.claims(str(it.project_id), count=10)
        assert len(more) == 3
    assert len(it.labels()) == 3
    assert len(it.claims("live")) == 3


def test_a_commit_whose_outcome_the_server_does_not_know_is_asked_again(
    lab: Make, site: str
) -> None:
    """500: the server lost its database in the commit, so it may have been stored."""
    it = lab(3)
    it.open()
    with Client(site, it.key) as client:
        client._http._transport = Flaky({1, 3}, status=500)
        claims = client.claims(str(it.project_id), count=3)
        outcomes = client.answer(*(Answer(claim.id, "left") for claim in claims))
    assert [one.status for one in outcomes] == [200] * 3
    assert len(it.labels()) == 3
    with Client(site, it.key) as client:
        client._http._transport = flaky = Flaky({1, 2}, status=500)
        with pytest.raises(ApiError) as caught:
            client.send("POST", "/sign-out")  # nothing would tell a repetition from a second call
    assert (caught.value.status, flaky.count) == (500, 1)


def run(
    site: str, it: Any, folder: Path, *more: str, stderr: int = subprocess.STDOUT
) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "app.cli", "oracle", "run", "mine:judge"]
    options = ["--url", site, "--project", str(it.project_id), *more]
    return subprocess.Popen(
        [*command, *options],
        cwd=folder,
        env=os.environ | {"ACTIVEDPO_ORACLE_KEY": it.key, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def test_a_function_becomes_an_oracle(lab: Make, site: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def judge(prompt, left, right):\n    return 1.0\n")
    it = lab(150)
    it.open()
    output, _ = (process := run(site, it, tmp_path, "--once")).communicate(timeout=60)
    assert process.returncode == 0, output
    assert "150 answers sent" in output
    assert it.round().state == "training"
    assert it.labels()[0].judge == {"name": "mine:judge"}


def test_it_ends_in_good_order(lab: Make, site: str, tmp_path: Path) -> None:
    slow = "import time\n\n\ndef judge(prompt, left, right):\n    time.sleep(0.2)\n    return 0.0\n"
    (tmp_path / "mine.py").write_text(slow)
    it = lab(100)
    it.open()
    process = run(site, it, tmp_path, "--concurrency", "2")
    deadline = time.monotonic() + 30
    while not it.labels() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    labels = it.labels()
    assert f"{len(labels)} answers sent" in output
    assert 0 < len(labels) < 100
    assert it.claims("live") == []


def test_a_terminal_shows_a_bar(lab: Make, site: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def judge(prompt, left, right):\n    return 1.0\n")
    it = lab(20)
    it.open()
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = run(site, it, tmp_path, "--once", stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal's end is an error on Linux
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert re.search(rb"20 labels.*abstained=0", shown)


def test_a_function_that_fails_gives_its_pairs_back(lab: Make, site: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def judge(prompt, left, right):\n    return 'maybe'\n")
    it = lab(4)
    it.open()
    output, _ = (process := run(site, it, tmp_path, "--once")).communicate(timeout=60)
    assert process.returncode != 0
    assert "maybe" in output
    assert it.labels() == []
    assert it.claims("live") == []


def test_what_a_function_may_say() -> None:
    from activedpo.client import Claim

    claim = Claim("c", "p", "l", "r", "")
    said = [as_answer(claim, x, {}) for x in (1, 0.2, 0.5, None, True, "both_bad")]
    choices = [(answer.choice, answer.p_left) for answer in said]
    assert choices == [
        ("left", 1.0),
        ("right", 0.2),
        ("tie", 0.5),
        ("skip", None),
        ("left", 1.0),
        ("both_bad", None),
    ]
    for wrong in (2, -0.1, "perhaps", float("nan"), object()):
        with pytest.raises(ValueError, match="neither a probability"):
            as_answer(claim, wrong, {})


def test_the_oracle_of_the_documentation_runs_as_printed(
    lab: Make, site: str, tmp_path: Path
) -> None:
    (printed,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    statements = [line for line in printed.splitlines() if line.strip()]
    assert len(statements) <= 32
    (tmp_path / "asks_back.py").write_text(printed)
    it = lab([("Why?", "Because."), ("Yes.", "No?"), ("Well? Well?", "Well?"), ("a", "b")])
    it.open()
    given = {
        "ACTIVEDPO_URL": site,
        "ACTIVEDPO_KEY": it.key,
        "ACTIVEDPO_PROJECT": str(it.project_id),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "asks_back.py"],
        cwd=tmp_path,
        env=os.environ | given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "4 labels" in done.stderr
    pairs = {pair.id: pair.completion_a for pair in it.pairs()}
    chosen = {pairs[label.pair_id]: label.chosen for label in it.labels()}
    assert chosen == {"Why?": "a", "Yes.": "b", "Well? Well?": "a", "a": None}
