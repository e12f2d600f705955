"""What hostile people send: bombs, paths, fields that are not theirs, files that run."""

from __future__ import annotations

import base64
import io
import itertools
import re
import resource
import stat
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from pyarrow import parquet

from app.database import transaction
from app.errors import Invalid
from app.people.models import Membership, Person
from app.projects import imports
from app.projects.models import Project
from app.projects.reading import rows
from app.projects.row import Rejected
from app.settings import Settings
from tests.security.conftest import build

ROOT = Path(__file__).parents[2]
CODE = [p for room in ("app", "worker", "activedpo") for p in (ROOT / room).rglob("*.py")]


def _bomb(megabytes: int, times: int, nested: bool) -> io.BytesIO:
    """One text, written once, that ``times`` rows (or messages of one row) refer to."""
    indices = pa.array([0] * times, pa.int32())
    texts = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * (megabytes << 20)]))
    column: Any = texts
    if nested:
        roles = pa.array(["user"] * times)
        turns = pa.StructArray.from_arrays([roles, texts.cast(pa.string())], ["role", "content"])
        column = pa.ListArray.from_arrays(pa.array([0, times], pa.int32()), turns)
    file = io.BytesIO()
    parquet.write_table(pa.table({"prompt": column}), file, compression="zstd")
    file.seek(0)
    return file


@pytest.mark.parametrize(("megabytes", "times", "nested"), [(16, 2000, False), (2, 200, True)])
def test_a_parquet_bomb_takes_little_memory_and_is_rejected(
    megabytes: int, times: int, nested: bool
) -> None:
    bomb = _bomb(megabytes, times, nested)
    weight = bomb.getbuffer().nbytes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = itertools.islice(rows(bomb, "parquet", imports.PROMPT_COLUMNS), 40)
    found = [row if isinstance(row, Rejected) else row.line for row in read]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert weight < 100_000
    assert grown < 600_000, "kB"
    if nested:
        assert found == [Rejected(1, "is longer than 67,108,864 bytes")]


# Its statistics say INT96 where the data say text: parquet-cpp throws where nothing catches.
DEADLY_PARQUET = (
    "eNrlVM1u00AQHjthlRYf0kpr2ZIPObRWEf1JLFKJCiTWbuMEAiSWmqYVUrVOXdM2aYyTNu2Vh+DIU8A7IB4A8RB9BS"
    "R218EORUioV0b27Hrm+77Z2V25RbwKzuN5bDSxjGERYOXzxo/SvQcAEgBQDHgRL61ihIvsRcYmrEhUk+jCAkyhcw0A"
    "mX0gSULwH0jpb6qgoVHvbTCguABYWZY1pTccRP1gfDI8P/SXoWkw+B8J+iuBWAJFMcuMZ7H3g6txEJ/T/uHJ0TSuIt"
    "3QmyYYWNGrgIr675WwoiI1Vj9I5jOzMLtyfZW1DFgG5opseMKEkG4CYpp/U6OZ2jfJ/CjdRW/aVaZ0I5uf5LsozW5G"
    "Jvc+b37N/auc+iWnIrOgfs+DbmgK8bzXe1vJuWk38ga3SWgTQtoksReETIgdkhohIXFCEbMZ4CWfOIQ0RCAbp1TnjM"
    "/2udsWUjvcHbe4PofsimA9xSfm8JzbeXTkdq79QW3UtfpnxD1lpIdDvjRR2yOptJ0yictdr/780u/aZabU5vjyrXqN"
    "W/W2BfMV54wOul7kW9Xj/XaS4Xy26F3eN+u/zvdBkNOiOzXRlJP1lxjH2ae+VZn4bqdM9x5fdK2ksi1wAv8UtFJE43"
    "cXwXitF0VrNI6Hk9JlEI/YvStZm+vl9YrO73v6QJgDaLFf009CGOOp"
)


def test_a_parquet_file_that_ends_its_reader_is_refused() -> None:
    file = io.BytesIO(zlib.decompress(base64.b64decode(DEADLY_PARQUET)))
    with pytest.raises(Invalid, match="no Parquet file that can be read"):
        list(rows(file, "parquet", imports.PROMPT_COLUMNS))


def test_a_parquet_type_that_nothing_unpacks_is_refused() -> None:
    named = pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string()))
    file = io.BytesIO()
    parquet.write_table(pa.table({"prompt": named}), file)
    with pytest.raises(Invalid, match="no Parquet file that can be read"):
        list(rows(file, "parquet", imports.PROMPT_COLUMNS))


def test_a_deep_or_wide_json_body_is_no_fault(client: TestClient) -> None:
    world = build()
    path = f"/api/v1/projects/{world.own['project_id']}/prompts"
    for body in (b"[" * 200_000, b'{"prompts":' * 50_000, b'{"prompts":[' + b"1," * 300_000):
        answer = client.post(
            path, content=body, headers=world.by_key("owner") | {"Content-Type": "application/json"}
        )
        assert answer.status_code in (413, 422), answer.text[:200]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/projects/{project_id}", {"created_by": "{person_id}"}),
        ("/api/v1/projects/{project_id}", {"id": "{person_id}"}),
        ("/api/v1/projects/{project_id}", {"policy_id": "{policy_id}"}),
    ],
)
def test_fields_that_are_not_theirs_are_refused(
    client: TestClient, path: str, body: dict[str, str]
) -> None:
    world = build()
    given = {key: value.format(**world.other) for key, value in body.items()}
    answer = client.patch(path.format(**world.own), json=given, headers=world.by_key("owner"))
    assert answer.status_code == 422, answer.text


def test_no_role_promotes_itself(client: TestClient) -> None:
    world = build()
    me = world.people["owner"]
    mine = world.by_key("owner")
    assert (
        client.patch(f"/api/v1/people/{me}", json={"role": "admin"}, headers=mine).status_code
        == 403
    )
    members = f"/api/v1/projects/{world.own['project_id']}/members"
    body = {"person": str(world.people["annotator"]), "role": "owner"}
    for who in ("annotator", "oracle", "stranger", "owner, narrow key"):
        assert client.post(members, json=body, headers=world.by_key(who)).status_code in (403, 404)
    more = {"email": "x@example.com", "role": "admin", "id": str(me), "password_hash": "x"}
    assert (
        client.post("/api/v1/people", json=more, headers=world.by_key("admin")).status_code == 422
    )
    with transaction() as session:
        assert session.get_one(Person, me).role == "member"
        project = session.get_one(Project, world.own["project_id"])
        assert session.get_one(Membership, (project.id, world.people["annotator"])).role == (
            "annotator"
        )


def test_what_nobody_filters_by_filters_nothing(client: TestClient) -> None:
    """CVE-2023-47117: a filter on any column let readers guess password hashes."""
    world = build()
    plain = client.get("/api/v1/people", headers=world.by_key("admin")).json()
    for query in ("password_hash=a", "password_hash__startswith=%24", "order_by=password_hash"):
        asked = client.get(f"/api/v1/people?{query}", headers=world.by_key("admin"))
        assert asked.status_code == 422 or asked.json() == plain
    assert "hash" not in str(plain)


def test_addresses_of_static_files_lead_nowhere_else(client: TestClient) -> None:
    for path in (
        "/static/../app/settings.py",
        "/static/%2e%2e/settings.py",
        "/static/..%2f..%2fpyproject.toml",
        "/static//etc/passwd",
        "/static/%5c..%5csettings.py",
        "/static../settings.py",
    ):
        answer = client.get(path)
        assert answer.status_code in (404, 405), path
        assert "ACTIVEDPO" not in answer.text


def test_what_was_uploaded_comes_back_as_a_file_of_a_fixed_type(client: TestClient) -> None:
    world = build()
    for kind in ("jsonl", "csv", "parquet", "trl"):
        answer = client.get(
            f"/api/v1/projects/{world.own['project_id']}/export",
            params={"format": kind},
            headers=world.by_key("owner") | {"Accept": "text/html"},
        )
        assert answer.status_code == 200
        assert "html" not in answer.headers["Content-Type"]
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_name_with_a_line_break_makes_no_header(client: TestClient) -> None:
    world = build()
    path = f"/api/v1/projects/{world.own['project_id']}"
    evil = 'x\r\nSet-Cookie: a=b"; filename="evil.html'
    changed = client.patch(path, json={"name": evil}, headers=world.by_key("owner"))
    answer = client.get(f"{path}/export?format=csv", headers=world.by_key("owner"))
    assert changed.status_code in (200, 422)
    assert "set-cookie" not in answer.headers
    assert "evil.html" not in answer.headers["Content-Disposition"]


def test_errors_tell_no_insides(client: TestClient) -> None:
    world = build()
    for path in ("/api/v1/projects/%00", "/api/v1/projects/1' OR '1'='1", "/rounds/<script>"):
        answer = client.get(path, headers=world.by_key("admin"))
        assert answer.status_code in (303, 401, 404, 422)
        for inside in ("Traceback", "sqlalchemy", "psycopg", "<script>", str(ROOT)):
            assert inside not in answer.text


def test_the_secret_key_is_generated_once_and_for_its_owner_only(tmp_path: Path) -> None:
    one, two = (Settings(home=tmp_path / name, secret_key=None) for name in ("a", "b"))
    assert one.signing_key() == one.signing_key() != two.signing_key()
    assert len(one.signing_key()) >= 48
    assert stat.S_IMODE((tmp_path / "a" / "secret_key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"trust_remote_code\s*=\s*True", "code out of a model's folder must not run"),
        (r"\b(import pickle|from pickle|pickle\.loads?|cloudpickle|joblib\.load)\b", "pickles run"),
        (r"torch\.load\((?![^)]*weights_only=True)", "torch.load runs what it reads"),
        (
            r"yaml\.(load\((?!.*Loader=_Loader)|unsafe_load|full_load)",
            "yaml.load runs what it reads",
        ),
        (r"\beval\(|\bexec\(|shell=True|os\.system\(", "text must not become code"),
        (r"verify\s*=\s*False", "certificates are checked"),
        (r"\|\s*safe\b", "the sanitiser decides what is markup"),
    ],
)
def test_what_must_not_be_in_the_code(pattern: str, why: str) -> None:
    files = [*CODE, *(ROOT / "templates").rglob("*.html")]
    found = [
        f"{file.relative_to(ROOT)}:{n}"
        for file in files
        for n, line in enumerate(file.read_text().splitlines(), 1)
        if re.search(pattern, line) and ".eval()" not in line
    ]
    assert found == [], why


def test_no_default_login(tmp_path: Path) -> None:
    """CVE-2023-43791, Argilla's default key: two fresh homes share no secret."""
    made = []
    for name in ("one", "two"):
        script = (
            "from app.settings import get_settings\n"
            "from app.stack.bootstrap import credentials\n"
            "s = get_settings()\nc = credentials(s, s.home)\n"
            "print(c.password, c.api_key, s.signing_key())"
        )
        env = {"ACTIVEDPO_HOME": str(tmp_path / name), "PATH": "/usr/bin", "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
        )
        made.append(set(ran.stdout.split()))
    assert len(made[0]) == 3
    assert made[0].isdisjoint(made[1])
    assert all(len(secret) >= 20 for secret in made[0])


def test_a_pattern_that_never_ends_abstains() -> None:
    """Python's own matching would hold the interpreter's lock for years."""
    from activedpo.oracles.regex import regex

    judge = regex("(a+)+$")
    assert judge("a question", "a" * 5_000 + "b", "short") is None
    assert regex("o")("a question", "foo", "bar") == 1.0


def test_behind_tls_browsers_are_told_to_stay_there(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.settings import get_settings

    assert "Strict-Transport-Security" not in client.get("/healthz").headers
    monkeypatch.setattr(get_settings(), "secure_cookies", True)
    assert client.get("/healthz").headers["Strict-Transport-Security"] == "max-age=31536000"
