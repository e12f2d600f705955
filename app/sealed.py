"""Secrets that must be used again, such as an oracle's API key: kept encrypted, never shown."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from app.settings import get_settings

MASK = "********"
"""Stands where a secret is kept; sent back, it means: the one you have."""


class UnreadableSecretError(Exception):
    """It was sealed under another secret key: it has to be given again."""


def seal(secret: str) -> str:
    """Encrypt and authenticate a secret under this site's secret key."""
    return _box().encrypt(secret.encode()).decode()


def unseal(sealed: str, seconds: int | None = None) -> str:
    """The secret behind :func:`seal`'s text.

    Args:
        seconds: how old the text may be.

    Raises:
        UnreadableSecretError: the site's secret key is another one now, or it is too old.
    """
    try:
        return _box().decrypt(sealed.encode(), seconds).decode()
    except InvalidToken:
        raise UnreadableSecretError(
            "the site's secret key has changed: give the secret again"
        ) from None


SEALED = "sealed:"
"""Begins a secret that is kept inside stored settings."""


def sealed_in(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings with the secret ``name`` sealed, where there is one and it is not yet."""
    secret = settings.get(name)
    if not isinstance(secret, str) or _readable(secret):
        return settings
    return {**settings, name: SEALED + seal(secret)}


def unsealed_in(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings with the secret ``name`` readable.

    Raises:
        UnreadableSecretError: as of :func:`unseal`.
    """
    secret = settings.get(name)
    if not isinstance(secret, str) or not secret.startswith(SEALED):
        return settings
    return {**settings, name: unseal(secret.removeprefix(SEALED))}


def masked_in(settings: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    """The settings as they may be shown."""
    return {**settings, name: MASK} if settings and settings.get(name) else settings


def _readable(secret: str) -> bool:
    try:
        return secret.startswith(SEALED) and bool(unseal(secret.removeprefix(SEALED)))
    except UnreadableSecretError:
        return False


def _box() -> Fernet:
    # A key of its own, so that what signs sessions never encrypts as well
    material = hashlib.sha256(b"activedpo/sealed/1\0" + get_settings().signing_key().encode())
    return Fernet(base64.urlsafe_b64encode(material.digest()))
