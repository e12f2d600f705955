"""Addresses that people give us to call: refused early where they can be seen to be private.

What counts is the check at the moment of connecting, in :mod:`activedpo.oracles.network`; this one
tells the person at once.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from activedpo.oracles.network import addresses_of, is_public
from app.settings import get_settings


def refusal(url: str) -> str | None:
    """Why an address may not be called; None where it may, or where its name is not known yet."""
    if get_settings().allow_private_addresses:
        return None
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = addresses_of(parts.hostname or "", port)
    except (OSError, UnicodeError):
        return None
    if all(map(is_public, found)):
        return None
    return (
        "leads to a private or loopback address; an operator can allow these with "
        "ACTIVEDPO_ALLOW_PRIVATE_ADDRESSES"
    )
