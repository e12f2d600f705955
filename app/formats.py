"""How numbers, dates and prompts read on a page."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from markupsafe import Markup, escape

from app.language import Spoken, _, decimal, moment, percentage, relative

ANSWERS = (
    ("a", _("A is better")),
    ("b", _("B is better")),
    ("tie", _("A tie")),
    ("both_bad", _("Both bad")),
)
"""What may be known to be right of a pair, and how it is shown."""

CHOICES = {
    "left": _("left"),
    "right": _("right"),
    "tie": _("a tie"),
    "both_bad": _("both bad"),
    "skip": _("skipped"),
    "abstain": _("abstained"),
}
JUST_NOW = dt.timedelta(seconds=5)
_P = ParamSpec("_P")


def _spoken(shown: Callable[_P, str]) -> Callable[_P, Spoken]:
    """Make ``shown`` answer in the language of the page that its answer is put on."""

    @wraps(shown)
    def say(*args: _P.args, **named: _P.kwargs) -> Spoken:
        return Spoken(lambda: shown(*args, **named))

    return say


def ago(when: dt.datetime | None, now: dt.datetime | None = None) -> Markup:
    """``when`` as "3 min. ago" (or "in 3 min."), with the exact time on hover."""
    if when is None:
        return Markup("–")
    delta = when - (now or dt.datetime.now(dt.UTC))
    said = _("just now").here() if abs(delta) < JUST_NOW else relative(delta)
    return Markup('<time datetime="{}" title="{}" class="nowrap">{}</time>').format(
        when.isoformat(), moment(when), said
    )


@_spoken
def number(value: float | None, digits: int | None = None) -> str:
    """``value`` as the reader's language groups its digits; ``digits`` after the point."""
    if value is None:
        return "–"
    if digits is None:
        digits = 0 if float(value).is_integer() else 3
    return decimal(value, digits)


@_spoken
def significant(value: float, figures: int = 3) -> str:
    """``value`` with so many significant figures at most."""
    size = math.floor(math.log10(abs(value))) if value else 0
    return decimal(value, max(0, figures - 1 - size), exactly=False)


def choice_word(choice: str) -> str:
    """What somebody said of a pair, as a word; a completion's letter as it is."""
    return CHOICES.get(choice.replace(" ", "_"), choice)


@_spoken
def percent(value: float | None, digits: int = 0) -> str:
    """``value`` in [0, 1] as a percentage."""
    return "–" if value is None else percentage(value, digits)


@_spoken
def size(count: float | None) -> str:
    """``count`` bytes, in the unit that reads best."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{decimal(count, 0 if unit == 'B' or count >= 100 else 1)} {unit}"
        count /= 1000
    return f"{decimal(count, 1)} TB"


@_spoken
def duration(seconds: float | None) -> str:
    """``seconds`` as "45 s", "3 min" or "2 h 5 min"."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 90:
        return _("%(n)s s", n=whole).here()
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return _("%(hours)s h %(minutes)s min", hours=hours, minutes=minutes).here()
    return _("%(n)s min", n=minutes).here()


def prompt_text(content: Any) -> str:
    """A prompt as plain text: itself, or its turns with their roles."""
    if isinstance(content, str):
        return content
    if len(content) == 1:
        return str(content[0]["content"])
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in content)


def model_name(name: str) -> str:
    """A hub name as it is; of a folder, its last part."""
    return name.rstrip("/").rsplit("/", 1)[-1] if name.startswith("/") else name


def pretty(value: Any) -> str:
    """JSON that a person can read."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def hidden_field(name: str, value: str) -> Markup:
    """A hidden form field."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(escape(name), value)


FILTERS = {
    "ago": ago,
    "number": number,
    "percent": percent,
    "size": size,
    "duration": duration,
    "significant": significant,
    "choice_word": choice_word,
    "prompt_text": prompt_text,
    "model_name": model_name,
    "pretty": pretty,
}
