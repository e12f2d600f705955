"""ETags: what has not changed is told in a line, and what has is told whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Make = Callable[..., Any]


def test_a_round_that_has_not_changed(lab: Make) -> None:
    it = lab(2)
    at = f"/api/v1/rounds/{it.open()}"
    first = it.client.get(at)
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    again = it.client.get(at, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == tag
    it.answer([{"claim": it.claim(1)[0]["id"], "choice": "left"}])
    changed = it.client.get(at, headers={"If-None-Match": f'"other", {tag}'})
    assert changed.status_code == 200
    assert changed.json()["labels"]["done"] == 1
    assert changed.headers["ETag"] != tag


def test_errors_writes_and_files_have_none(lab: Make) -> None:
    it = lab(2)
    it.open()
    assert "ETag" not in it.client.get("/api/v1/rounds/nothing").headers
    assert "ETag" not in it.client.post(f"{it.at}/claims", json={"count": 1}).headers
    export = it.client.get(f"{it.at}/export", params={"format": "jsonl"})
    assert export.status_code == 200
    assert "ETag" not in export.headers
    assert it.client.get("/healthz").status_code == 200
