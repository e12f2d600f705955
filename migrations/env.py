"""Alembic's environment: the connection comes from the caller or from the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine

import app.models  # noqa: F401  (fills the metadata)
from app.database import Base, sqlalchemy_url
from app.settings import get_settings


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


connection = context.config.attributes.get("connection")
if connection is not None:
    _run(connection)
else:
    url = context.config.get_main_option("sqlalchemy.url") or get_settings().database_url
    if not url:
        raise SystemExit("No database: set ACTIVEDPO_DATABASE_URL.")
    engine = create_engine(sqlalchemy_url(url))
    with engine.connect() as opened:
        _run(opened)
