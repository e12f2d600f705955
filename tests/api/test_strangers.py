"""Every call there is, tried by nobody and by a stranger: new ones are tried as they come."""

from __future__ import annotations

import re
import uuid
from typing import Any

from app.main import create_app

OPEN = {
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/sign-in",
    "/api/v1/invitations/accept",  # its token is the key
}
OWN = {"/api/v1/me", "/api/v1/keys", "/api/v1/projects", "/api/v1/sign-out"}


def calls() -> list[tuple[str, str]]:
    paths = create_app().openapi()["paths"]
    return [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if path not in OPEN
    ]


def filled(path: str, cast: Any) -> str:
    path = path.replace("{project_id}", str(cast.project_id))
    return re.sub(r"\{\w+\}", str(uuid.uuid4()), path)


def test_nobody_gets_an_answer_without_a_key(cast: Any, anyone: Any) -> None:
    for method, path in calls():
        answer = anyone.request(method, filled(path, cast), json={})
        assert answer.status_code == 401, (method, path, answer.text)


def test_a_stranger_sees_nothing_of_the_project(cast: Any) -> None:
    tried = 0
    for method, path in calls():
        if path in OWN or "{" not in path:
            continue
        answer = cast.stranger.client.request(method, filled(path, cast), json={})
        # A body may be judged before the project is looked for: that tells nothing of it
        allowed = {404, 403, 422} if method in ("POST", "PUT", "PATCH") else {404, 403}
        if "{project_id}" in path:
            allowed -= {403}
        assert answer.status_code in allowed, (method, path, answer.text)
        assert "Replies" not in answer.text
        tried += 1
    assert tried > 15
