"""Checks of what people type, shared by HTTP and the command line."""

from __future__ import annotations

import re

from app import storable
from app.errors import Invalid
from app.language import _

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,190}")
SHORTEST_PASSWORD, LONGEST_PASSWORD = 8, 1000
LONGEST_NAME = 200


def email(value: str) -> str:
    """An e-mail address as it is stored: trimmed, in lower case.

    Any name and host go, also a host of an intranet: nothing is ever sent there.

    Raises:
        Invalid: it is no address.
    """
    value = value.strip().lower()
    if not _EMAIL.fullmatch(value) or storable.fault(value):
        raise Invalid(_("email: write an address as name@host."), field="email")
    return value


def name(value: str) -> str:
    """The name of a person or a key, as it came.

    Raises:
        Invalid: it cannot be stored.
    """
    if problem := storable.fault(value):
        raise Invalid(_("name: %(problem)s.", problem=problem), field="name")
    return value


def given_name(value: str, longest: int = LONGEST_NAME) -> str:
    """A name that has to be given, as it is stored: trimmed.

    Raises:
        Invalid: empty, too long, or it cannot be stored.
    """
    value = name(value).strip()
    if not 1 <= len(value) <= longest:
        raise Invalid(_("name: 1 to %(longest)s characters.", longest=longest), field="name")
    return value


def password(value: str) -> str:
    """A new password, if it is long enough.

    Raises:
        Invalid: shorter or longer than what is accepted.
    """
    if not SHORTEST_PASSWORD <= len(value) <= LONGEST_PASSWORD or storable.fault(value):
        raise Invalid(
            _(
                "password: %(shortest_password)s to %(longest_password)s characters.",
                shortest_password=SHORTEST_PASSWORD,
                longest_password=LONGEST_PASSWORD,
            ),
            field="password",
        )
    return value
