"""What surrounds every request: headers, limits, health, and a commit that fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.database import get_engine
from app.settings import get_settings

PROJECTS = "/api/v1/projects"


@pytest.mark.parametrize(
    "path", ["/healthz", "/openapi.json", "/static/app.css", "/nowhere", PROJECTS, "/docs"]
)
def test_every_answer_tells_browsers_to_be_careful(anyone: TestClient, path: str) -> None:
    headers = anyone.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"


def test_errors_are_problem_documents(anyone: TestClient) -> None:
    for answer in (
        anyone.get("/api/v1/nowhere"),
        anyone.delete(PROJECTS),
        anyone.get(PROJECTS),
    ):
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert {"type", "title", "status", "detail"} <= answer.json().keys()
        assert answer.json()["status"] == answer.status_code


def test_a_body_that_is_too_long_is_refused(cast: Any) -> None:
    headers = {"Content-Type": "application/json"}
    body = b'{"name": "' + b"x" * 17_000_000 + b'"}'
    assert cast.admin.post(PROJECTS, content=body, headers=headers).status_code == 413
    parts = iter([body[:9_000_000], body[9_000_000:]])
    unannounced = cast.admin.post(PROJECTS, content=parts, headers=headers)
    assert unannounced.status_code == 413
    assert unannounced.headers["Content-Type"] == "application/problem+json"


@pytest.fixture
def failing_commit(database: Any) -> Iterator[None]:
    """A deferred constraint: every statement succeeds and the commit does not."""
    with get_engine().begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'refused at commit'; END $$"
        )
        connection.exec_driver_sql(
            "CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON projects "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    yield
    with get_engine().begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER refused ON projects")
        connection.exec_driver_sql("DROP FUNCTION refuse()")


def test_a_commit_that_fails_never_shows_success(cast: Any, failing_commit: None) -> None:
    answer = cast.admin.post(PROJECTS, json={"name": "Lost"})
    assert answer.status_code == 500
    assert answer.json()["detail"] == "The server failed; nothing was stored."
    names = [item["name"] for item in cast.admin.get(PROJECTS).json()["items"]]
    assert names == ["Replies"]


def test_ready_when_all_parts_are(anyone: TestClient) -> None:
    assert anyone.get("/healthz").json() == {"status": "up"}
    ready = anyone.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["checks"] == {"database": "ok", "migrations": "ok", "broker": "ok"}


def test_not_ready_names_the_part(anyone: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_settings(), "redis_url", "redis://:secret@127.0.0.1:1/0")
    answer = anyone.get("/readyz")
    assert answer.status_code == 503
    assert "broker" in answer.json()["detail"]
    assert "database" not in answer.json()["detail"]
    assert "secret" not in answer.text
    assert anyone.get("/healthz").status_code == 200


def test_not_ready_before_the_migrations(
    anyone: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.migrate.current", lambda engine: None)
    answer = anyone.get("/readyz")
    assert answer.status_code == 503
    assert "activedpo migrate" in answer.json()["detail"]


def test_not_ready_without_a_database(anyone: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import create_engine

    nowhere = create_engine("postgresql+psycopg://u:secret@127.0.0.1:1/x")
    monkeypatch.setattr("app.health.get_engine", lambda: nowhere)
    answer = anyone.get("/readyz")
    assert answer.status_code == 503
    assert "database" in answer.json()["detail"]
    assert "secret" not in answer.text
    monkeypatch.setattr("app.metrics.get_engine", lambda: nowhere)
    assert "activedpo_database_up 0.0" in anyone.get("/metrics").text


def test_a_demo_is_ready_once_its_project_is_there(
    cast: Any, anyone: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_settings(), "demo", True)
    file = get_settings().home / "demo.json"
    waiting = anyone.get("/readyz")
    assert waiting.status_code == 503
    assert "demo" in waiting.json()["checks"]
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'{{"project": "{cast.project_id}"}}')
    try:
        assert anyone.get("/readyz").status_code == 200
    finally:
        file.unlink()


def test_metrics_count_what_the_database_holds(cast: Any, anyone: TestClient) -> None:
    body = {"prompts": [{"prompt": "a"}, {"prompt": "b", "split": "eval"}]}
    cast.owner.post(f"{cast.project}/prompts", json=body)
    cast.owner.get(cast.project)
    told = anyone.get("/metrics").text
    assert 'activedpo_prompts{split="train"} 1.0' in told
    assert 'activedpo_prompts{split="eval"} 1.0' in told
    assert "activedpo_projects 1.0" in told
    assert "activedpo_database_up 1.0" in told
    assert 'route="/api/v1/projects/{project_id}",status="200"' in told
    assert str(cast.project_id) not in told


def test_the_web_process_loads_no_model_code() -> None:
    code = (
        "import sys; from app.main import create_app; create_app(); "
        "heavy = {'torch', 'transformers', 'trl', 'worker', 'pyarrow'} & set(sys.modules); "
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_reference_tells_every_call(anyone: TestClient) -> None:
    page = anyone.get("/docs")
    assert page.status_code == 200
    assert 'script src="http' not in page.text
    for path, methods in anyone.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in page.text
    assert "completion_a" in page.text
