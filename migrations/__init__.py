"""Alembic migrations of ActiveDPO's database."""
