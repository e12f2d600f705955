"""What belongs to others: no filter, page or id leads to it, and an address in what is imported is
a text like any other."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.database import new_id, transaction
from app.projects.models import Prompt
from tests.security.conftest import World, build
from tests.security.rules import API
from tests.security.test_matrix import filled

LISTS = [name.split()[1] for name, rule in API.items() if name.startswith("GET /api/v1/")]
GUESSES = ("annotator", "person", "person_id", "project", "project_id", "email", "all", "order_by")


def read(client: TestClient, world: World, who: str, path: str, query: str = "") -> Any:
    """A list's answer to somebody, or None where there is none for them."""
    address = filled(path, world.own) + (f"?{query}" if query else "")
    answer = client.get(address, headers=world.by_key(who))
    if answer.status_code != 200 or answer.headers["Content-Type"] != "application/json":
        return None
    found = answer.json()
    return found if isinstance(found, dict) and "items" in found else None


def ids_in(page: Any) -> set[str]:
    return {str(item.get("id", item.get("person", item))) for item in page["items"]}


def test_no_filter_and_no_cursor_leads_to_other_peoples_rows(client: TestClient) -> None:
    """Of every list: what somebody sees without a question is all that they see with one."""
    world, looked = build(), 0
    stated = client.get("/openapi.json").json()["paths"]
    others = {**world.other, "email": "lone@example.com"}
    for path in LISTS:
        cursors = [
            page["next"]
            for who in ("admin", "owner")
            if (page := read(client, world, who, path, "limit=1")) and page.get("next")
        ]
        known = {one["name"] for one in stated[path]["get"].get("parameters", [])}
        # a name that the list has never heard of should do nothing, so all of them may come at once
        names = [[name] for name in GUESSES if name in known]
        names.append([name for name in GUESSES if name not in known])
        for who in ("annotator", "oracle", "stranger", "owner, key of another project"):
            plain = read(client, world, who, path, "limit=500")
            if plain is None:
                continue
            asked = [
                "&".join(f"{name}={value}" for name in together)
                for together in names
                for value in others.values()
            ]
            for query in [*asked, *(f"cursor={cursor}" for cursor in cursors)]:
                page = read(client, world, who, path, f"limit=500&{query}")
                assert page is None or ids_in(page) <= ids_in(plain), (who, path, query)
                looked += 1
    assert looked > 500


def test_an_id_tells_nothing_of_the_next() -> None:
    """62 random bits each, whatever the time says: made in one millisecond they are no row."""
    tails = [new_id().int & (1 << 62) - 1 for _ in range(1_000)]
    assert len(set(tails)) == 1_000
    steps = [abs(b - a) for a, b in itertools.pairwise(tails)]
    assert min(steps) > 1 << 24
    assert len({tail >> 54 for tail in tails}) > 200


@pytest.fixture
def heard() -> Iterator[tuple[str, list[str]]]:
    """The address of a server of this machine, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def test_an_address_in_what_is_imported_is_a_text(
    client: TestClient, heard: tuple[str, list[str]]
) -> None:
    """CVE-2022-36551, CVE-2023-47116: imports that fetched what a row, a file or a form named."""
    address, asked = heard
    world = build()
    path, headers = f"/api/v1/projects/{world.own['project_id']}", world.by_key("owner")
    named = [
        f"{address}/inside",
        "file:///etc/passwd",
        "/etc/passwd",
        "\\\\host\\share",
        "@/etc/hosts",
    ]
    rows = [{"prompt": one, "external_id": one} for one in named]
    sent = client.post(f"{path}/prompts", json={"prompts": rows}, headers=headers)
    assert sent.json()["added"] == len(named)
    pairs = [{"prompt": f"of {one}", "completion_a": one, "completion_b": "b"} for one in named]
    assert client.post(f"{path}/pairs", json={"pairs": pairs}, headers=headers).status_code < 300
    for name in (f"{address}/x.csv", "file:///etc/passwd", "../../etc/passwd.csv"):
        file = {"file": (name, io.BytesIO(b"prompt\nfrom a file\n"), "text/csv")}
        answer = client.post(f"{path}/prompts", files=file, headers=headers)
        assert answer.status_code in (200, 201, 422), answer.text
        assert "root:" not in answer.text
    for body in ({"url": address}, {"file": f"{address}/x"}, {"path": "/etc/passwd"}):
        assert client.post(f"{path}/prompts", json=body, headers=headers).status_code == 422
    with transaction() as session:
        stored = {str(prompt.content) for prompt in session.query(Prompt)}
    assert set(named) <= stored
    assert not any("root:" in text for text in stored)
    assert asked == []


def test_a_model_that_is_an_address_is_not_fetched(
    client: TestClient, heard: tuple[str, list[str]]
) -> None:
    import activedpo as ad
    from activedpo.errors import ActiveDPOError

    address, asked = heard
    admin = build().by_key("admin")
    for name in (f"{address}/model", "file:///etc", "../../etc", "http://169.254.169.254/latest"):
        body = {"name": "x", "base_model": name}
        made = client.post("/api/v1/projects", json=body, headers=admin)
        assert made.status_code in (201, 422), made.text
        with pytest.raises(ActiveDPOError):
            ad.load(name)
    assert asked == []
