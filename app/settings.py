"""Every setting of a deployment, read once from the environment and ``.env``."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.secret_files import SecretFiles

TRACKERS = ("tensorboard", "trackio", "wandb", "mlflow", "comet_ml", "aim", "swanlab")

TRIED_FIRST = frozenset(
    (
        *("activedpo", "admin", "admin123", "administrator", "changeme", "change-me", "default"),
        *("demo", "demodemo", "guest", "letmein", "passw0rd", "password", "password1", "postgres"),
        *("qwertyui", "root", "secret", "test", "testtest", "user", "00000000", "11111111"),
        *("12345678", "123456789", "1234567890"),
    )
)
"""Passwords that everybody tries first."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]


class Settings(BaseSettings):
    """The environment of the contract, prefix ``ACTIVEDPO_``.

    Unset ``database_url`` and ``redis_url`` mean the embedded servers under ``home``; the
    supervisor fills them in for the processes it starts.
    """

    model_config = SettingsConfigDict(
        env_prefix="ACTIVEDPO_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,  # what is wrong may stand beside a secret
        populate_by_name=True,
    )

    database_url: str | None = Field(None, description="Postgres URL; unset: embedded.")
    redis_url: str | None = Field(None, description="Redis URL; unset: embedded.")
    home: Path = Field(Path(".activedpo"), description="Folder for data, models and secrets.")
    artifacts: str | None = Field(
        None, description="fsspec URL for policies; unset: a folder under HOME."
    )
    admin_email: str | None = Field(None, description="Admin created at the first start.")
    admin_password: SecretStr | None = Field(None, description="That admin's password.")
    api_key: SecretStr | None = Field(
        None, description="Admin-scoped API key created at first start; 20 characters or more."
    )
    secret_key: SecretStr | None = Field(
        None, description="Signs sessions; unset: generated under HOME with mode 0600."
    )
    allow_private_addresses: bool = Field(
        False, description="Let oracle and webhook addresses be private or loopback."
    )
    host: str = Field("127.0.0.1", description="Address the web server listens on.")
    port: int = Field(
        8000,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("ACTIVEDPO_PORT", "PORT"),
        description="Port the web server listens on; PORT is honoured too.",
    )
    default_base_model: str = Field(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        description="Base model of a project that names none.",
    )
    device: str | None = Field(
        None, description="The worker's device: cpu, cuda, cuda:1; unset: the best."
    )
    dtype: str | None = Field(
        None,
        description="Numbers of generation and scoring: float32 or bfloat16; unset: the best.",
    )
    lease_seconds: int = Field(75, ge=5, description="A worker's hold between heartbeats.")
    heartbeat_seconds: float = Field(10, gt=0, description="How often a worker renews its hold.")
    claim_seconds: int = Field(
        1800, ge=1, description="How long a claim is held; a project may say otherwise."
    )
    stop_seconds: float = Field(
        10,
        ge=0,
        description="What a part may take to end on SIGTERM: a training step and its checkpoint, "
        "requests that still run.",
    )
    reconcile_seconds: float = Field(15, gt=0, description="How often the reconciler looks.")
    keep_policies: int = Field(
        0, ge=0, description="Newest policies of a project that keep their files; 0: all."
    )
    shard_prompts: int = Field(256, ge=1, description="Prompts in one shard of generation.")
    max_upload_bytes: int = Field(1 << 30, ge=1, description="Largest upload accepted.")
    max_text_chars: int = Field(
        1_000_000, ge=1, description="Longest prompt or completion accepted, in characters."
    )
    root_path: str = Field(
        "", description="Path below which a proxy serves the site, e.g. /labels; unset: all of it."
    )
    public_url: str | None = Field(
        None, description="The site's address as browsers know it; unset: as each request says."
    )
    password_sign_in: bool = Field(
        True, description="Off: people sign in through the identity provider alone."
    )
    second_factor: Literal["optional", "admins", "all"] = Field(
        "optional",
        description="Who must have a second step of signing in: nobody (optional), admins of the "
        "site, all. Who has none sets it up before anything else; API keys go on.",
    )
    oidc_issuer: str | None = Field(
        None, description="Issuer of the OpenID Connect provider; its discovery lies below it."
    )
    oidc_client_id: str | None = Field(None, description="This site's name at the provider.")
    oidc_client_secret: SecretStr | None = Field(
        None, description="Its secret there; unset: a public client, by PKCE alone."
    )
    oidc_name: str = Field(
        "your organisation", description="What the button says: Sign in with ..."
    )
    oidc_scope: str = Field("openid email profile", description="What is asked of the provider.")
    oidc_group_claim: str = Field(
        "groups", description="The claim with a person's groups, or its path: a.b."
    )
    oidc_roles: dict[str, Literal["admin", "member"]] = Field(
        default_factory=dict,
        description="Group to role as JSON; then no group, no way in. Unset: roles are given here.",
    )
    oidc_create_people: bool = Field(
        False, description="Create who signs in through the provider for the first time."
    )
    forget_people_days: int | None = Field(
        None,
        ge=1,
        description="Days after which a deactivated account loses its name; its labels stay.",
    )
    demo: bool = Field(False, description="Ready only once the demo project exists.")
    demo_oracle: str | None = Field(
        None,
        validation_alias=AliasChoices("ACTIVEDPO_ORACLE", "ORACLE"),
        description="Kind of oracle that labels the demo by itself, e.g. sentiment.",
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    trackers: str | None = Field(
        None,
        description="Trackers of accelerate that get training curves, e.g. tensorboard; by commas.",
    )
    tracing: bool = Field(
        False, description="Send OpenTelemetry traces; where to, the OTEL_* variables say."
    )
    secure_cookies: bool = Field(False, description="Set when the site is served over TLS.")

    @field_validator("trackers")
    @classmethod
    def _known(cls, trackers: str | None) -> str | None:
        unknown = set(_listed(trackers)) - set(TRACKERS)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: unknown; there are {TRACKERS}")
        return trackers

    @field_validator("root_path")
    @classmethod
    def _a_path(cls, path: str) -> str:
        path = path.rstrip("/")
        if path and re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path) is None:
            raise ValueError("a path such as /labels: letters, digits and ._~- between slashes")
        return path

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("api_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < 20:
            raise ValueError("ACTIVEDPO_API_KEY must have 20 characters or more")
        return key

    @field_validator("oidc_issuer", "public_url")
    @classmethod
    def _plain_address(cls, address: str | None) -> str | None:
        if address is not None and not re.fullmatch(r"https?://[^\s?#@]+", address):
            raise ValueError("an address such as https://id.example.com, without query or user")
        return address

    @model_validator(mode="after")
    def _somebody_gets_in(self) -> Self:
        if self.oidc_issuer is not None and self.oidc_client_id is None:
            raise ValueError("ACTIVEDPO_OIDC_ISSUER needs ACTIVEDPO_OIDC_CLIENT_ID")
        if not self.password_sign_in and self.oidc_issuer is None:
            raise ValueError("ACTIVEDPO_PASSWORD_SIGN_IN=0 needs ACTIVEDPO_OIDC_ISSUER")
        return self

    @model_validator(mode="after")
    def _opens_to_nobody_at_the_first_try(self) -> Self:
        if self.admin_password is None or _is_loopback(self.host):
            return self
        password, email = self.admin_password.get_secret_value().lower(), self.admin_email or ""
        if password in TRIED_FIRST | {email.lower(), email.lower().partition("@")[0]}:
            raise ValueError(
                "ACTIVEDPO_ADMIN_PASSWORD is one that everybody tries first, and "
                "ACTIVEDPO_HOST is open to others: choose another password"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then files that it names, then ``.env``."""
        files = SecretFiles(settings_cls)
        return init_settings, env_settings, files, dotenv_settings, file_secret_settings

    @property
    def tracker_names(self) -> list[str]:
        """The trackers that get training curves."""
        return _listed(self.trackers)

    @property
    def artifacts_url(self) -> str:
        """Where policies are stored: an fsspec URL."""
        return self.artifacts or (self.home / "artifacts").as_uri()

    @property
    def models_dir(self) -> Path:
        """Base models kept on this machine, one folder a hub name."""
        return self.home / "models"

    def signing_key(self) -> str:
        """The key that signs sessions, made with mode 0600 at first use."""
        if self.secret_key is not None:
            return self.secret_key.get_secret_value()
        path = self.home / "secret_key"
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text().strip()
        with os.fdopen(fd, "w") as file:
            key = secrets.token_urlsafe(48)
            file.write(key)
        return key


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
