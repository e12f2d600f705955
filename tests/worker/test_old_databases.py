"""A database of every revision there was, with rows in every table, is brought up to date.

The rows are those of a real round at the newest revision, and one in each table that a round does
not fill; at an older revision they have the tables and columns that there were.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, NullPool, Table

from app import migrate
from app.database import Base
from tests.stack.test_skew import make_empty
from tests.worker.conftest import label, one_round, open_round, round_of, wait_state
from worker.device import Device

Rows = dict[str, list[dict[str, Any]]]

REVISIONS = sorted(
    s.revision for s in ScriptDirectory.from_config(migrate.config()).walk_revisions()
)
MIDDLE = REVISIONS[len(REVISIONS) // 2]

VALUES: dict[str, dict[str, Any]] = {
    "oracles": {
        "kind": "openai", "mode": "first",
        "settings": {"fill_after": 3600.0, "audit_to_people": False, "logprobs": False, "m": "x"},
    },
    "webhooks": {"url": "https://hooks.example.com/here", "events": ["round.done"]},
    "gold_pairs": {"answer": "a"},
    "practice_pairs": {"answer": "b"},
    "practice_answers": {"choice": "left", "left_is": "a"},
    "api_keys": {"scope": "annotator"},
    "memberships": {"role": "annotator"},
    "group_roles": {"role": "annotator"},
    "invitations": {"role": "annotator"},
    "kept_files": {"kind": "pairs"},
    "evaluations": {"prompts": "eval", "outputs_a_id": None, "policy_b_id": None},
    "trials": {"pair_id": None},
    "deliveries": {"kind": "round.done", "body": {"round": 1}},
}  # fmt: skip
"""What a column of a table no round fills must be; elsewhere its type decides."""

ADDED_TO_JSON = {"0010": {"oracles": {"settings": ("fill_after", "audit_to_people", "logprobs")}}}
"""Keys that a revision writes into old rows."""

_kept: Rows = {}


def value_for(column: sa.Column[Any]) -> Any:
    """Something of a column's type, another one each time."""
    one = uuid.uuid4()
    kinds: dict[type, Any] = {
        sa.String: one.hex, sa.Integer: 1, sa.Float: 0.5, sa.Boolean: False,
        sa.LargeBinary: one.bytes, sa.JSON: {}, sa.ARRAY: [one.hex], sa.Uuid: one,
        sa.DateTime: sa.func.now(),
    }  # fmt: skip
    return next(value for kind, value in kinds.items() if isinstance(column.type, kind))


def fill(connection: Connection) -> None:
    """A row in each table that has none."""
    for table in Base.metadata.sorted_tables:
        if connection.scalar(sa.select(sa.func.count()).select_from(table)):
            continue
        row: dict[str, Any] = {}
        for column in table.columns:
            if column.name in VALUES.get(table.name, {}):
                row[column.name] = VALUES[table.name][column.name]
            elif column.foreign_keys:
                (key,) = column.foreign_keys
                row[column.name] = connection.scalar(sa.select(key.column).limit(1))
            elif not (
                column.nullable or column.default or column.server_default or column.identity
            ):
                row[column.name] = value_for(column)
        connection.execute(sa.insert(table).values(row))


def rows_of(connection: Connection, metadata: MetaData) -> Rows:
    """Everything in the database."""
    return {
        table.name: [dict(row._mapping) for row in connection.execute(sa.select(table))]
        for table in metadata.tables.values()
        if table.name != "alembic_version"
    }


@pytest.fixture
def newest(database: Engine, project: Callable[..., uuid.UUID], device: Device) -> Rows:
    """Rows of a project with a round that is done and one that people are labelling."""
    if not _kept:
        project_id = project(prompts=12, evals=2, pool_size=6, training={"max_steps": 2})
        one_round(project_id, device)
        again = open_round(project_id)
        device.drain()
        wait_state(again, "labelling")
        with database.begin() as connection:
            fill(connection)
        with database.connect() as connection:
            _kept.update(rows_of(connection, Base.metadata))
    assert all(_kept.values()), "every table has a row"
    return _kept


@pytest.fixture
def made(environment: dict[str, str]) -> Iterator[Callable[[str], Engine]]:
    """Makes an empty database at a revision."""
    engines: list[Engine] = []

    def make(revision: str) -> Engine:
        url = make_empty(environment["ACTIVEDPO_DATABASE_URL"], f"at_{revision}")
        engines.append(sa.create_engine(url, poolclass=NullPool))
        migrate.upgrade(engines[-1], revision)
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


def as_of(revision: str, table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """A row as it was at an older revision."""
    old = {name: value for name, value in row.items() if name in table.columns}
    for since, tables in ADDED_TO_JSON.items():
        for name, keys in tables.get(table.name, {}).items():
            if revision < since:
                old[name] = {k: v for k, v in old[name].items() if k not in keys}
    return old


def write(connection: Connection, revision: str, rows: Rows) -> MetaData:
    """Put the rows into a database of an older revision, which checks them; its tables."""
    there = MetaData()
    there.reflect(connection)
    connection.execute(sa.text("SET LOCAL session_replication_role = replica"))  # any order
    for table in there.tables.values():
        if table.name == "alembic_version":
            continue
        missing = {c.name for c in table.columns} - {
            c.name for c in Base.metadata.tables[table.name].columns
        }
        assert not missing, f"{table.name} had {missing}: say here what became of it"
        connection.execute(
            sa.insert(table), [as_of(revision, table, row) for row in rows[table.name]]
        )
    owned = "SELECT setval(pg_get_serial_sequence('events', 'id'), (SELECT max(id) FROM events))"
    connection.execute(sa.text(owned))  # numbers of the server's own go on behind the rows
    return there


def dangling(connection: Connection) -> list[str]:
    """Foreign keys that lead nowhere."""
    found = []
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            there = key.column.table.alias("there")
            lost = sa.select(sa.func.count()).where(
                key.parent.is_not(None),
                ~sa.exists().where(there.c[key.column.name] == key.parent),
            )
            if connection.scalar(lost):
                found.append(f"{table.name}.{key.parent.name}")
    return found


def known_by(table: Table) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """What tells one row of a table from another."""
    names = [column.name for column in table.primary_key.columns]
    return lambda row: tuple(row[name] for name in names)


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_nothing_is_lost_on_the_way_from_any_revision(
    revision: str, newest: Rows, made: Callable[[str], Engine]
) -> None:
    engine = made(revision)
    with engine.begin() as connection:
        there = write(connection, revision, newest)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        after = rows_of(connection, Base.metadata)
        assert dangling(connection) == []
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
        invalid = "SELECT conname FROM pg_constraint WHERE NOT convalidated"
        assert connection.execute(sa.text(invalid)).all() == []
    for name, old in there.tables.items():
        if name == "alembic_version":
            continue
        table = Base.metadata.tables[name]
        kept = {known_by(table)(row): row for row in after[name]}
        assert len(kept) == len(newest[name]), name
        for row in newest[name]:
            now = kept[known_by(table)(row)]
            for column in old.columns:
                assert now[column.name] == row[column.name], f"{name}.{column.name}"


@pytest.mark.parametrize("revision", [REVISIONS[0], MIDDLE])
def test_a_round_goes_on_in_a_database_that_was_old(
    revision: str,
    newest: Rows,
    made: Callable[[str], Engine],
    forget: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = made(revision)
    with engine.begin() as connection:
        write(connection, revision, newest)
    migrate.upgrade(engine)
    with engine.begin() as connection:  # rows made up for these tables would stop the round
        connection.execute(sa.text("UPDATE oracles SET state = 'detached'"))
        for table in ("set_asides", "withheld", "gold_pairs"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    url = engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("ACTIVEDPO_DATABASE_URL", url)
    forget()
    device = Device()
    try:
        (open_now,) = [row for row in newest["rounds"] if row["state"] == "labelling"]
        person = newest["people"][0]["id"]
        label(open_now["project_id"], person)
        device.drain()
        over = round_of(open_now["id"])
        assert (over.state, over.metrics["trained_pairs"]) == ("done", 8)
        after = one_round(open_now["project_id"], device, person)
        assert after.state == "done"
        assert after.metrics["trained_pairs"] == 12
    finally:
        device.stop()
        device.accelerator.close()
