"""The embedded servers ask for their password and touch nothing outside their HOME."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest
import redis

from app.stack.home import SOCKET_PATH_BYTES
from app.stack.postgres import SOCKET_NAME, Postgres, PostgresError


def test_postgres_refuses_a_wrong_password(environment: dict[str, str]) -> None:
    url = environment["ACTIVEDPO_DATABASE_URL"].replace("+psycopg", "")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url, password="guessed")


def test_postgres_listens_on_no_network(environment: dict[str, str]) -> None:
    url = environment["ACTIVEDPO_DATABASE_URL"].replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_redis_refuses_without_password(environment: dict[str, str]) -> None:
    address = environment["ACTIVEDPO_REDIS_URL"].rsplit("@", 1)[1]
    with (
        redis.Redis.from_url(f"redis://{address}") as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_no_secret_can_be_read_by_others(tmp_path: Path) -> None:
    home = tmp_path / "home"
    postgres = Postgres(home, durable=False)
    postgres.prepare()
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (home / "secrets").iterdir()}
    assert modes
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_modes_above_home_stay_as_they_are(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = [parent.stat().st_mode for parent in [closed, *closed.parents]]
    Postgres(closed / "home", durable=False).prepare()
    assert [parent.stat().st_mode for parent in [closed, *closed.parents]] == before


def test_a_deep_home_gets_a_short_socket(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 120)
    postgres = Postgres(home, durable=False)
    assert len(str(postgres.sockets / SOCKET_NAME)) <= SOCKET_PATH_BYTES
    assert stat.S_IMODE(postgres.sockets.stat().st_mode) == 0o700
    postgres.sockets.rmdir()


def test_data_of_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(PostgresError, match="written by Postgres 16, this is 18"):
        Postgres(tmp_path).prepare()


def test_a_folder_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "diary.txt").write_text("mine")
    with pytest.raises(PostgresError, match="not empty"):
        Postgres(tmp_path).prepare()
    assert (tmp_path / "postgres" / "diary.txt").read_text() == "mine"
