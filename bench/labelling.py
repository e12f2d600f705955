"""``python -m bench.labelling``: people who label at once, here and in Label Studio, in one run.

So many clients, each a person with an account of their own, claim a pair and answer it over HTTP,
over and over, for so many seconds: labels a second, what a claim and an answer take (p50, p99), and
how many different pairs the answers are of. The load is made on the same cores by threads of this
process, for both alike.

    python -m bench.labelling --label-studio VENV/bin/label-studio

Label Studio is no dependency of ours: install it into a virtual environment of its own
(``pip install label-studio``). Without the option only our half runs. ``--large N`` imports N pairs
and measures the claim again, beside that at ``--pairs``. Writes ``bench/results/labelling.json``.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activedpo.client import Client
from activedpo.testing import tiny_model
from app.stack.redis import free_port
from bench.conditions import conditions
from tests.stack.conftest import Stack

RESULT = Path(__file__).parent / "results" / "labelling.json"
KEY, PASSWORD = "a-key-for-benchmarks-0123456789", "for benchmarks only 1"
AT_ONCE = 5_000
CONFIG = """<View><Text name="prompt" value="$prompt"/><Pairwise name="pw" toName="a,b"/>
<Text name="a" value="$a"/><Text name="b" value="$b"/></View>"""
PEOPLE = """
from jwt_auth.models import JWTSettings
from organizations.models import Organization
from rest_framework.authtoken.models import Token
from users.models import User
JWTSettings.objects.update(legacy_api_tokens_enabled=True)
org = Organization.objects.first()
for n in range({count}):
    email = f"annotator{{n}}@example.com"
    user = User.objects.create_user(email=email, username=email, password="{password}")
    org.add_user(user)
    user.active_organization = org
    user.save()
    print("TOKEN", Token.objects.get_or_create(user=user)[0].key)
"""


@dataclass
class Seen:
    """What the clients saw: seconds of each call, and the pair of each answer."""

    claims: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    pairs: list[str] = field(default_factory=list)
    refused: int = 0

    def figures(self, seconds: float) -> dict[str, Any]:
        """Rates, percentiles in milliseconds, and how often one pair was answered twice."""
        return {
            "labels_a_second": round(len(self.pairs) / seconds, 1),
            "labels": len(self.pairs),
            "unique_pairs": len(set(self.pairs)),
            "claim_ms": _percentiles(self.claims),
            "answer_ms": _percentiles(self.answers),
            "refused": self.refused,
        }


class Person(ABC):
    """One client with a connection of its own; a ``step`` claims a pair and answers it."""

    def __init__(self, port: int, token: str, project: str) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.head = {"Authorization": token, "Content-Type": "application/json"}
        self.project = project

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any, float]:
        """(status, JSON, seconds)."""
        sent = None if body is None else json.dumps(body)
        started = time.perf_counter()
        self.http.request(method, path, sent, self.head)
        answer = self.http.getresponse()
        said = answer.read()
        seconds = time.perf_counter() - started
        return answer.status, json.loads(said) if said[:1] in b"{[" else None, seconds

    @abstractmethod
    def step(self, seen: Seen) -> None:
        """Claim one, answer it."""


class Ours(Person):
    """A person of ActiveDPO."""

    def step(self, seen: Seen) -> None:
        """One round trip for the claim, one for the answer."""
        path = f"/api/v1/projects/{self.project}/claims"
        status, said, seconds = self.call("POST", path, {"count": 1})
        if status != 200 or not said["items"]:
            seen.refused += 1
            return
        seen.claims.append(seconds)
        claim = said["items"][0]
        path = f"/api/v1/claims/{claim['id']}/preference"
        status, _, seconds = self.call("POST", path, {"choice": "left"})
        if status == 201:
            seen.answers.append(seconds)
            seen.pairs.append(str(claim["prompt"]))  # one pair a prompt
        else:
            seen.refused += 1


class Theirs(Person):
    """A person of Label Studio."""

    def step(self, seen: Seen) -> None:
        """The calls that its page makes."""
        status, task, seconds = self.call("GET", f"/api/projects/{self.project}/next")
        if status != 200:
            seen.refused += 1
            return
        seen.claims.append(seconds)
        value = {"from_name": "pw", "to_name": "a", "type": "pairwise"}
        body = {"result": [{**value, "value": {"selected": "left"}}], "lead_time": 1.0}
        status, _, seconds = self.call("POST", f"/api/tasks/{task['id']}/annotations/", body)
        if status == 201:
            seen.answers.append(seconds)
            seen.pairs.append(str(task["id"]))
        else:
            seen.refused += 1


def together(people: Sequence[Person], seconds: float) -> dict[str, Any]:
    """All of them at once for so long."""
    seen = [Seen() for _ in people]
    until = time.monotonic() + seconds

    def work(person: Person, mine: Seen) -> None:
        while time.monotonic() < until:
            person.step(mine)

    threads = [threading.Thread(target=work, args=both) for both in zip(people, seen, strict=True)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = Seen()
    for one in seen:
        whole.claims += one.claims
        whole.answers += one.answers
        whole.pairs += one.pairs
        whole.refused += one.refused
    return whole.figures(time.perf_counter() - started)


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    """Pairs as people meet them: a short question, two answers of a few lines."""
    answer = "An answer of a few lines, as a small model writes it. " * 4
    return [
        {"prompt": f"Question {i}?", "a": f"{answer}{i}", "b": f"Another one: {answer}{i}"}
        for i in range(start, start + count)
    ]


def our_project(client: Client, model: str, pairs: int, batch: int) -> tuple[str, float]:
    """(a project of imported pairs with a round open for labels, pairs imported a second)."""
    body: dict[str, Any] = {"name": f"bench {pairs}", "base_model": model}
    body |= {"source": "imported", "acquisition": "random", "training": {"max_steps": 1, "lora": 4}}
    made = str(client.send("POST", "/projects", {**body, "batch_size": batch})["id"])
    seconds = 0.0
    for start in range(0, pairs, AT_ONCE):
        part = [
            {"prompt": r["prompt"], "completion_a": r["a"], "completion_b": r["b"]}
            for r in rows(min(AT_ONCE, pairs - start), start)
        ]
        started = time.perf_counter()
        client.send("POST", f"/projects/{made}/pairs", {"pairs": part})
        seconds += time.perf_counter() - started
    client.send("POST", f"/projects/{made}/rounds")
    while client.get(f"/projects/{made}/rounds")["items"][0]["state"] != "labelling":
        time.sleep(0.2)
    return made, pairs / seconds


def our_people(client: Client, port: int, project: str, count: int) -> list[Person]:
    """Annotators of a project, each with a key."""
    made: list[Person] = []
    for n in range(count):
        body = {"email": f"annotator{n}-{project}@example.com"}
        person = client.send("POST", "/people", body)["id"]
        client.send("POST", f"/projects/{project}/members", {"person": person})
        key = client.send("POST", "/keys", {"person": person, "project": project})["key"]
        made.append(Ours(port, f"Bearer {key}", project))
    return made


@contextmanager
def our_site(folder: Path) -> Iterator[tuple[Client, int, str]]:
    """A whole stack; (admin's client, port, folder of a model)."""
    model = tiny_model(folder / "tiny")
    stack = Stack(folder / "home", free_port(), OMP_NUM_THREADS="1", ACTIVEDPO_API_KEY=KEY)
    try:
        stack.printed("API key")
        with Client(f"http://127.0.0.1:{stack.port}", KEY, timeout=600) as client:
            yield client, stack.port, model
    finally:
        stack.end()


def ours(pairs: int, counts: list[int], seconds: float, large: int) -> dict[str, Any]:
    """Our half of the contest."""
    with tempfile.TemporaryDirectory() as name, our_site(Path(name)) as (client, port, model):
        project, rate = our_project(client, model, pairs, pairs)
        crowd = our_people(client, port, project, max(counts))
        found = {
            "import_pairs_a_second": round(rate),
            "clients": {str(n): together(crowd[:n], seconds) for n in counts},
        }
        if large:
            project, rate = our_project(client, model, large, pairs)
            crowd = our_people(client, port, project, 1)
            found["large"] = {
                "pairs": large,
                "import_pairs_a_second": round(rate),
                "one_client": together(crowd, seconds),
            }
        return found


@contextmanager
def their_site(binary: str, folder: Path) -> Iterator[int]:
    """Label Studio on SQLite, as it comes; its port."""
    port = free_port()
    more = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_USERNAME": "admin@example.com",
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "COLLECT_ANALYTICS": "False",
        "LOG_LEVEL": "ERROR",
    }
    command = [binary, "start", "--no-browser", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=_plain() | more, stdout=log, stderr=log)
        try:
            _wait(port, "/health", process)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def _plain() -> dict[str, str]:
    """The environment without what leads Python into this repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _version(binary: str) -> str:
    """Label Studio's version, of the environment that it lies in."""
    ask = "import importlib.metadata as m; print(m.version('label-studio'))"
    python = Path(binary).parent / "python"
    done = subprocess.run(
        [python, "-c", ask], env=_plain(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _wait(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            if Theirs(port, "", "").call("GET", path)[0] == 200:
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("Label Studio did not start")


def their_tokens(binary: str, folder: Path, count: int) -> list[str]:
    """Tokens of so many new people."""
    script = PEOPLE.format(count=count, password=PASSWORD)
    more = {"LABEL_STUDIO_BASE_DATA_DIR": str(folder), "LOG_LEVEL": "ERROR"}
    done = subprocess.run(
        [binary, "shell"],
        input=f"exec({script!r})\n",  # an interactive console: one line is one statement
        env=_plain() | more,
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split()[-1] for line in done.stdout.splitlines() if "TOKEN " in line]


def theirs(binary: str, pairs: int, counts: list[int], seconds: float) -> dict[str, Any]:
    """Label Studio's half."""
    with tempfile.TemporaryDirectory() as name, their_site(binary, Path(name)) as port:
        tokens = [f"Token {one}" for one in their_tokens(binary, Path(name), max(counts))]
        admin = Theirs(port, tokens[0], "")
        body = {"title": "bench", "label_config": CONFIG}
        project = str(admin.call("POST", "/api/projects/", body)[1]["id"])
        spent = 0.0
        for start in range(0, pairs, AT_ONCE):
            path = f"/api/projects/{project}/import"
            status, said, took = admin.call("POST", path, rows(min(AT_ONCE, pairs), start))
            if status != 201:
                raise RuntimeError(f"Label Studio's import: {status} {said}")
            spent += took
        crowd = [Theirs(port, token, project) for token in tokens]
        return {
            "version": _version(binary),
            "import_pairs_a_second": round(pairs / spent),
            "clients": {str(n): together(crowd[:n], seconds) for n in counts},
        }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": round(1e3 * cuts[49], 1), "p99": round(1e3 * cuts[98], 1)}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 16, 64])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--large", type=int, default=0, metavar="N")
    parser.add_argument("--label-studio", metavar="FILE", help="its command, if it is installed")
    given = parser.parse_args()
    said: dict[str, Any] = {
        **conditions(),
        "pairs": given.pairs,
        "seconds": given.seconds,
        "pinned_cores": len(os.sched_getaffinity(0)),
    }
    contests: dict[str, Callable[[], dict[str, Any]]] = {
        "activedpo": lambda: ours(given.pairs, given.clients, given.seconds, given.large)
    }
    if given.label_studio:
        contests["label_studio"] = lambda: theirs(
            given.label_studio, given.pairs, given.clients, given.seconds
        )
    for name, contest in contests.items():
        said[name] = contest()
        RESULT.write_text(json.dumps(said, indent=1) + "\n")
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
