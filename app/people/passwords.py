"""Passwords: argon2id, at the library's current parameters."""

from __future__ import annotations

from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

_hasher = PasswordHasher()


def hashed(password: str) -> str:
    """What is stored of a password."""
    return _hasher.hash(password)


@lru_cache
def _nobodys() -> str:
    return hashed("the password of nobody")


def matches(stored: str | None, password: str) -> bool:
    """Whether a password is the stored one.

    Takes as long where nothing is stored, so that the time tells nobody who has an account.
    """
    try:
        right = _hasher.verify(stored or _nobodys(), password.encode("utf-8", "surrogatepass"))
    except (Argon2Error, InvalidHashError):
        return False
    return right and stored is not None


def outdated(stored: str) -> bool:
    """Whether the hash was made with weaker parameters than today's."""
    return _hasher.check_needs_rehash(stored)
