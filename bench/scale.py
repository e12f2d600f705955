"""``python -m bench.scale``: what grows with a project and what not, from 10,000 to 1,000,000.

On a Postgres of its own, as ``activedpo up`` runs it, in this process and without HTTP's own cost:

- the import of so many pairs from a file: pairs a second, how far the memory grew, bytes a pair;
- a claim and an answer in a small project, and in a large one, in turns: median and statements;
- pages and lists of a project with so many labels: the median of several times;
- their export: rows a second, how far the memory grew.

Labels of the past are written by SQL, as rounds of 10,000 that 20 people answered. Writes
``bench/results/scale.json``; ``--large 20000`` is that it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, text

from app.stack import process
from app.stack.postgres import Postgres
from bench.conditions import conditions

RESULT = Path(__file__).parent / "results" / "scale.json"
SMALL, ROUND, PEOPLE, CLAIMS, TIMES = 10_000, 10_000, 20, 300, 3
ANSWER = "An answer of a few lines, as a small model writes it. " * 4

PAST = """
INSERT INTO rounds (id, project_id, number, state, needed, answered, progress_done,
                    progress_total, seed, metrics, finished_at)
SELECT gen_random_uuid(), :project, n, 'done', :size, :size, :size, :size, n, '{}', now()
FROM generate_series(1, :rounds) AS n;
CREATE TEMP TABLE past ON COMMIT DROP AS
SELECT pairs.id AS pair, (row_number() OVER (ORDER BY pairs.id) - 1) AS n,
       gen_random_uuid() AS claim, gen_random_uuid() AS preference
FROM pairs WHERE project_id = :project AND state = 'pool' ORDER BY pairs.id LIMIT :labels;
CREATE TEMP TABLE who ON COMMIT DROP AS
SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM people WHERE role = 'member';
UPDATE pairs SET round_id = rounds.id, state = 'answered', rank = past.n % :size
FROM past JOIN rounds ON rounds.project_id = :project AND rounds.number = past.n / :size + 1
WHERE pairs.id = past.pair;
INSERT INTO claims (id, project_id, round_id, pair_id, slot, person_id, left_is, state, expires_at)
SELECT past.claim, :project, pairs.round_id, past.pair, 0, who.id,
       CASE WHEN past.n % 2 = 0 THEN 'a' ELSE 'b' END, 'answered', now()
FROM past JOIN pairs ON pairs.id = past.pair
JOIN who ON who.n = past.n % (SELECT count(*) FROM who);
INSERT INTO preferences (id, project_id, round_id, pair_id, claim_id, person_id, choice, chosen,
                         left_is, seconds, version, late, frozen_in, created_at)
SELECT past.preference, :project, claims.round_id, past.pair, past.claim, claims.person_id,
       CASE WHEN past.n % 10 = 9 THEN 'tie' ELSE 'left' END,
       CASE WHEN past.n % 10 < 9 THEN claims.left_is END, claims.left_is,
       5 + past.n % 20, 1, false, claims.round_id, now() - make_interval(secs => past.n)
FROM past JOIN claims ON claims.id = past.claim;
INSERT INTO preference_versions (preference_id, version, choice, chosen)
SELECT id, 1, choice, chosen FROM preferences JOIN past ON past.preference = preferences.id;
"""


@contextmanager
def database() -> Iterator[Path]:
    """A Postgres of its own, migrated; its folder."""
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        home = Path(name)
        postgres = Postgres(home)
        postgres.prepare()
        with (home / "log").open("wb") as log:
            started = postgres.start(log)
        try:
            process.wait_until(postgres.ready, started, 60, "postgres")
            postgres.create("bench")
            os.environ |= {
                "ACTIVEDPO_DATABASE_URL": postgres.url("bench"),
                "ACTIVEDPO_HOME": name,
                "ACTIVEDPO_SECRET_KEY": "a key for benchmarks that is long enough to sign with",
            }
            from app import migrate
            from app.database import get_engine

            migrate.upgrade(get_engine())
            yield home
        finally:
            process.stop(started, Postgres.stop_signal, 30)


def write_pairs(path: Path, count: int) -> None:
    """So many pairs as people meet them: a short question, two answers of a few lines."""
    with path.open("w") as file:
        for n in range(count):
            row = {"prompt": f"Question {n}?", "completion_a": f"{ANSWER}{n}"}
            row |= {"completion_b": f"Another one: {ANSWER}{n}", "external_id": str(n)}
            file.write(json.dumps(row) + "\n")


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def imported(project: Any, path: Path, count: int) -> dict[str, Any]:
    """Import the file as the command does; a small one once more, when all of it is there."""
    from app.database import transaction
    from app.projects import imports, reading

    found: dict[str, Any] = {"pairs": count}
    for name in ("first", "again") if count <= SMALL else ("first",):
        before, began = peak(), time.perf_counter()
        with transaction() as session, path.open("rb") as file:
            rows = reading.rows(file, "jsonl", imports.PAIR_COLUMNS)
            outcome = imports.import_pairs(session, project, rows, stored=session.commit)
        seconds = time.perf_counter() - began
        assert outcome.added == (count if name == "first" else 0)
        found[name] = {
            "pairs_a_second": round(count / seconds),
            "memory_grew_mb": round(peak() - before, 1),
        }
    return found


def size_of(*tables: str) -> int:
    """Bytes of tables and their indexes."""
    from app.database import transaction

    with transaction() as session:
        sizes = [
            session.scalar(text("SELECT pg_total_relation_size(CAST(:t AS regclass))"), {"t": t})
            for t in tables
        ]
    return sum(sizes)


class Statements:
    """Counts what is sent to Postgres."""

    def __init__(self) -> None:
        from app.database import get_engine

        self.count = 0
        event.listen(get_engine(), "before_cursor_execute", self._sent)

    def _sent(self, *_: object) -> None:
        self.count += 1


def labelling(projects: dict[str, uuid.UUID], person: uuid.UUID) -> dict[str, Any]:
    """What a claim and an answer take in each project, in turns, in milliseconds."""
    from app.database import transaction
    from app.labelling import actions, batch
    from app.models import Project

    sent = Statements()
    took: dict[str, dict[str, list[float]]] = {n: {"claim": [], "answer": []} for n in projects}
    statements: dict[str, list[int]] = {"claim": [], "answer": []}
    for _ in range(CLAIMS):
        for name, id in projects.items():
            at, began = sent.count, time.perf_counter()
            with transaction() as session:
                project = session.get_one(Project, id)
                (held,) = actions.claim_pairs(session, project, person, 1)
            took[name]["claim"].append(time.perf_counter() - began)
            statements["claim"].append(sent.count - at)
            at, began = sent.count, time.perf_counter()
            with transaction() as session:
                place = batch.place_of(session, held.claim.id, person)
                batch.prefer_one(session, held.claim.id, person, actions.Answer("left"), place)
            took[name]["answer"].append(time.perf_counter() - began)
            statements["answer"].append(sent.count - at)
    found: dict[str, Any] = {
        name: {f"{what}_ms": _median(times) for what, times in one.items()}
        for name, one in took.items()
    }
    small, large = found.values()
    found["claim_ratio"] = round(large["claim_ms"] / small["claim_ms"], 2)
    found["answer_ratio"] = round(large["answer_ms"] / small["answer_ms"], 2)
    found["statements"] = {what: statistics.median(n) for what, n in statements.items()}
    return found


def claim_plan(round_id: uuid.UUID, person: uuid.UUID) -> list[str]:
    """The nodes of the plan by which a claim finds its pair."""
    from app.database import transaction
    from app.labelling import queries

    with transaction() as session:
        sql = f"EXPLAIN (FORMAT JSON) {queries._TAKE.text}"
        values = {"project": uuid.uuid4(), "round": round_id, "person": person, "seconds": 60}
        values |= {"count": 1, "reviewer": False, "behind": None}
        plan = session.execute(text(sql), values).scalar_one()
    nodes: list[str] = []

    def walk(node: dict[str, Any]) -> None:
        on = node.get("Index Name") or node.get("Relation Name")
        nodes.append(f"{node['Node Type']}{f' on {on}' if on else ''}")
        for inner in node.get("Plans", []):
            walk(inner)

    walk(plan[0]["Plan"])
    return nodes


def pages(project: uuid.UUID, admin: uuid.UUID, last_round: uuid.UUID) -> dict[str, float]:
    """What pages and lists of a project take, whole, in milliseconds."""
    from fastapi.testclient import TestClient

    from app.database import transaction
    from app.main import create_app
    from app.models import Person
    from app.people import actions
    from app.people.access import COOKIE
    from app.people.sessions import _begin

    with transaction() as session:
        person = session.get_one(Person, admin)
        cookie = _begin(session, person).token
        _, key = actions.add_key(session, person, "admin")
    client = TestClient(create_app(), follow_redirects=False)
    by_cookie = {"Cookie": f"{COOKIE}={cookie}", "Accept": "text/html"}
    by_key = {"Authorization": f"Bearer {key}"}
    p, api = f"/projects/{project}", f"/api/v1/projects/{project}"
    asked: dict[str, tuple[str, dict[str, str]]] = {
        "list of projects": ("/projects", by_cookie),
        "dashboard": (p, by_cookie),
        "rounds": (f"{p}/rounds", by_cookie),
        "round": (f"/rounds/{last_round}", by_cookie),
        "quality": (f"{p}/quality", by_cookie),
        "prompts": (f"{p}/prompts", by_cookie),
        "log": (f"{p}/log", by_cookie),
        "labels, a page of 100": (f"{api}/preferences?limit=100", by_key),
        "prompts, a page of 100": (f"{api}/prompts?limit=100", by_key),
        "project": (api, by_key),
    }
    return {name: _median(_times(client, *call)) for name, call in asked.items()}


def _times(client: Any, path: str, headers: dict[str, str]) -> Iterator[float]:
    for _ in range(TIMES):
        began = time.perf_counter()
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:200])
        yield time.perf_counter() - began


def exported(project: Any, labels: int) -> dict[str, Any]:
    """Every label as a file, piece by piece."""
    from app.projects import export

    found: dict[str, Any] = {}
    formats: tuple[export.Format, ...] = ("jsonl", "parquet")
    for format in formats:
        before, began = peak(), time.perf_counter()
        size = sum(map(len, export.export(project, format, False)))
        seconds = time.perf_counter() - began
        found[format] = {
            "rows_a_second": round(labels / seconds),
            "mb": round(size / 2**20),
            "memory_grew_mb": round(peak() - before, 1),
        }
    return found


def _median(seconds: Any) -> float:
    return round(1e3 * statistics.median(seconds), 2)


def run(large: int, note: Callable[[str, Any], None]) -> None:
    """All of it; ``note`` is told each part's figures as they come."""
    with database() as home:
        from app.database import transaction
        from app.models import Round
        from app.people import actions as people
        from app.projects import actions as projects
        from app.rounds import actions as rounds

        with transaction() as session:
            admin = people.add_person(session, "admin@example.com", role="admin")
            crowd = [people.add_person(session, f"p{n}@example.com") for n in range(PEOPLE)]
            settings: dict[str, Any] = {
                "base_model": "any",
                "source": "imported",
                "acquisition": "random",
            }
            settings = {**settings, "batch_size": min(ROUND, large // 2)}
            made = {
                name: projects.create_project(session, {**settings, "name": name}, admin)
                for name in ("small", "large")
            }
            for project in made.values():
                for person in crowd:
                    people.add_member(session, project, person, "annotator")
        note("import_small", _imported(made["small"], home, min(SMALL, large // 2)))
        # as many more as the round takes that is open while the others are labelled
        pairs = large + int(settings["batch_size"])
        note("import_large", _imported(made["large"], home, pairs))
        note("bytes_a_pair", round(size_of("pairs", "prompts") / (pairs + min(SMALL, large // 2))))
        began = time.perf_counter()
        with transaction() as session:
            opened = {n: rounds.open_round(session, p, None).id for n, p in made.items()}
        note("open_rounds_seconds", round(time.perf_counter() - began, 2))
        ids = {name: project.id for name, project in made.items()}
        note("labelling", labelling(ids, crowd[0].id))
        note("claim_plan", claim_plan(opened["large"], crowd[1].id))
        before = size_of("preferences", "preference_versions", "claims")
        labels = _past(made["large"].id, large)
        after = size_of("preferences", "preference_versions", "claims")
        note("labels", labels)
        note("bytes_a_label", round((after - before) / labels))
        with transaction() as session:
            last = session.query(Round).filter_by(project_id=made["large"].id, number=1).one().id
        note("pages_ms", pages(made["large"].id, admin.id, last))
        note("labelling_among_labels", labelling(ids, crowd[2].id))
        note("export", exported(made["large"], labels))


def _imported(project: Any, home: Path, count: int) -> dict[str, Any]:
    path = home / "pairs.jsonl"
    write_pairs(path, count)
    found = imported(project, path, count)
    path.unlink()
    return found


def _past(project: uuid.UUID, pairs: int) -> int:
    """So many labels of pairs that no round has yet, in rounds that are done; how many."""
    from app.database import get_engine, transaction

    size = min(ROUND, pairs // 2)
    rounds = pairs // size
    values = {"project": project, "size": size, "rounds": rounds, "labels": rounds * size}
    with transaction() as session:
        behind = "UPDATE rounds SET number = :rounds + 1 WHERE project_id = :project"
        session.execute(text(behind), values)
        for statement in PAST.split(";\n")[:-1]:
            session.execute(text(statement), values)
    with get_engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    return rounds * size


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=1_000_000, metavar="PAIRS")
    given = parser.parse_args()
    said: dict[str, Any] = {**conditions(), "pinned_cores": len(os.sched_getaffinity(0))}

    def note(name: str, figures: Any) -> None:
        said[name] = figures
        print(name, json.dumps(figures, indent=1), flush=True)
        if given.large >= 1_000_000:
            RESULT.write_text(json.dumps(said, indent=1) + "\n")

    run(given.large, note)


if __name__ == "__main__":
    main()
