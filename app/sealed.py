"""Secrets that must be used again, such as an oracle's API key: kept encrypted, never shown."""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken

from app.settings import get_settings


class UnreadableSecretError(Exception):
    """It was sealed under another secret key: it has to be given again."""


def seal(secret: str) -> str:
    """Encrypt and authenticate a secret under this site's secret key."""
    return _box().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """The secret behind :func:`seal`'s text.

    Raises:
        UnreadableSecretError: the site's secret key is another one now.
    """
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise UnreadableSecretError(
            "the site's secret key has changed: give the secret again"
        ) from None


def _box() -> Fernet:
    # A key of its own, so that what signs sessions never encrypts as well
    material = hashlib.sha256(b"activedpo/sealed/1\0" + get_settings().signing_key().encode())
    return Fernet(base64.urlsafe_b64encode(material.digest()))
