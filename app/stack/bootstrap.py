"""What a database needs before anyone can use it: the schema, an admin, an admin's key."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from app import migrate as migrations
from app.database import get_engine
from app.people import bootstrap as people
from app.settings import Settings, get_settings
from app.stack.home import secret

DEFAULT_EMAIL = "admin@localhost"


@dataclass(frozen=True)
class Credentials:
    """The first admin's login and key, as the operator is told them."""

    email: str
    password: str
    api_key: str

    def banner(self, address: str) -> list[str]:
        """Lines for the terminal; they go to no log file."""
        rule = "-" * 66
        return [
            rule,
            f"ActiveDPO     {address}",
            f"sign in as    {self.email}",
            f"password      {self.password}",
            f"API key       {self.api_key}",
            rule,
        ]


def credentials(settings: Settings, home: Path) -> Credentials:
    """Those of the environment; what it leaves out is generated once (HOME/secrets, 0600)."""
    given, key = settings.admin_password, settings.api_key
    return Credentials(
        email=settings.admin_email or DEFAULT_EMAIL,
        password=given.get_secret_value() if given else secret(home, "admin_password"),
        api_key=key.get_secret_value() if key else secret(home, "api_key"),
    )


def publish(wanted: Credentials) -> None:
    """Put them into the environment of this process and its children."""
    os.environ["ACTIVEDPO_ADMIN_EMAIL"] = wanted.email
    os.environ["ACTIVEDPO_ADMIN_PASSWORD"] = wanted.password
    os.environ["ACTIVEDPO_API_KEY"] = wanted.api_key
    get_settings.cache_clear()


def migrate() -> None:
    """Bring the schema up to date and see that the environment's admin and key exist."""
    migrations.upgrade(get_engine())
    people.at_start()
