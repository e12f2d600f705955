"""The keys of the labelling page: what each does, and each person's own.

A key is a letter, digit or sign as it is typed (small letters), an arrow (``ArrowLeft``), or a
letter or digit behind ``Shift+``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.errors import Invalid
from app.language import _
from app.people.models import Person

DEFAULTS: dict[str, str] = {
    "left": "1",
    "right": "2",
    "tie": "3",
    "both_bad": "4",
    "skip": "s",
    "undo": "u",
    "slightly": "Shift+1",
    "clearly": "Shift+2",
    "far": "Shift+3",
    "why": "r",
    "flags": "f",
    "questions": "q",
    "differences": "d",
    "raw": "m",
    "prompt": "p",
    "help": "?",
}
"""The key of each thing that the page does."""

WORDS: dict[str, str] = {
    "left": _("Left is better"),
    "right": _("Right is better"),
    "tie": _("A tie"),
    "both_bad": _("Both bad"),
    "skip": _("Skip"),
    "undo": _("Undo"),
    "slightly": _("Slightly better"),
    "clearly": _("Clearly better"),
    "far": _("Far better"),
    "why": _("Say why"),
    "flags": _("Flag what is wrong"),
    "questions": _("The project’s questions"),
    "differences": _("Mark the words that differ"),
    "raw": _("Markdown or the raw text"),
    "prompt": _("Unfold a long prompt"),
    "help": _("The list of keys"),
}
"""What each of them is called on pages."""

_ARROWS = {"ArrowLeft": "←", "ArrowRight": "→", "ArrowUp": "↑", "ArrowDown": "↓"}
_BEHIND_SHIFT = re.compile(r"shift\+([a-z0-9])", re.IGNORECASE)

NO_KEY = _(
    "one letter, digit or sign, an arrow such as ArrowLeft, or Shift+ and a letter or digit; "
    "Tab, Enter, Escape and the space bar stay the browser’s"
)


def of(chosen: Mapping[str, str] | None) -> dict[str, str]:
    """Every key, a person's own where they chose one."""
    own = chosen or {}
    return {verb: own.get(verb, key) for verb, key in DEFAULTS.items()}


def shown(key: str) -> str:
    """A key as it stands on a button."""
    return _ARROWS.get(key, key.replace("Shift+", "⇧ "))


def for_page(chosen: Mapping[str, str] | None) -> dict[str, Any]:
    """``keys``, every key, and ``shown``, how each stands on a button."""
    keys = of(chosen)
    return {"keys": keys, "shown": {verb: shown(key) for verb, key in keys.items()}}


def checked(wanted: Mapping[str, Any]) -> dict[str, str]:
    """What differs from the defaults, as it is stored; an empty or missing key is the default.

    Raises:
        Invalid: naming everything that is no such thing, no key, or has another's key.
    """
    wrong = [
        {"field": verb, "message": _("the page does no such thing")}
        for verb in sorted(set(wanted) - set(DEFAULTS))
    ]
    keys = dict(DEFAULTS)
    for verb in DEFAULTS:
        value = wanted.get(verb)
        if value in (None, ""):
            continue
        key = _key(value)
        if key is None:
            wrong.append({"field": verb, "message": NO_KEY})
        else:
            keys[verb] = key
    wrong += _conflicts(keys)
    if wrong:
        raise Invalid("; ".join(f"{e['field']}: {e['message']}" for e in wrong), errors=wrong)
    return {verb: key for verb, key in keys.items() if key != DEFAULTS[verb]}


def _key(value: Any) -> str | None:
    """The key as it is stored; None where it is none that may be chosen."""
    if not isinstance(value, str):
        return None
    typed: str = value.strip()
    if typed in _ARROWS:
        return typed
    if behind := _BEHIND_SHIFT.fullmatch(typed):
        return f"Shift+{behind[1].lower()}"
    lower = typed.lower()
    return lower if len(lower) == 1 and lower.isprintable() and not lower.isspace() else None


def _conflicts(keys: Mapping[str, str]) -> list[dict[str, str]]:
    found, owner = [], dict[str, str]()
    for verb, key in keys.items():
        if key in owner:
            message = _(
                "%(key)s is the key of “%(other)s” already", key=key, other=WORDS[owner[key]]
            )
            found.append({"field": verb, "message": message})
        owner.setdefault(key, verb)
    return found


def choose(session: Session, person: Person, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Give a person these keys, all others the defaults; the whole list.

    Raises:
        Invalid: as :func:`checked`.
    """
    person.shortcuts = checked(wanted) or None
    session.flush()
    return of(person.shortcuts)
