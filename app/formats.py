"""How numbers, dates and prompts read on a page."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from markupsafe import Markup, escape

ANSWERS = (("a", "A is better"), ("b", "B is better"), ("tie", "A tie"), ("both_bad", "Both bad"))
"""What may be known to be right of a pair, and how it is shown."""

_STEPS = ((60, "s"), (60, "min"), (24, "h"), (7, "day"), (4.345, "week"), (12, "month"))


def ago(moment: dt.datetime | None, now: dt.datetime | None = None) -> Markup:
    """``moment`` as "3 min ago" (or "in 3 min"), with the exact time on hover."""
    if moment is None:
        return Markup("–")
    seconds = ((now or dt.datetime.now(dt.UTC)) - moment).total_seconds()
    exact = moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}" class="nowrap">{}</time>').format(
        moment.isoformat(), exact, _relative(seconds)
    )


def _relative(seconds: float) -> str:
    size = abs(seconds)
    if size < 5:
        return "just now"
    unit = "year"
    for step, name in _STEPS:
        if size < step:
            unit = name
            break
        size /= step
    count = int(size)
    plural = "s" if unit in ("day", "week", "month", "year") and count != 1 else ""
    return f"in {count} {unit}{plural}" if seconds < 0 else f"{count} {unit}{plural} ago"


def number(value: float | None, digits: int | None = None) -> str:
    """``value`` with thin spaces between thousands; ``digits`` after the point."""
    if value is None:
        return "–"
    if digits is None:
        digits = 0 if float(value).is_integer() else 3
    text = f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float | None, digits: int = 0) -> str:
    """``value`` in [0, 1] as a percentage."""
    return "–" if value is None else f"{100 * value:.{digits}f}\N{NARROW NO-BREAK SPACE}%"


def size(count: float | None) -> str:
    """``count`` bytes, in the unit that reads best."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float | None) -> str:
    """``seconds`` as "45 s", "3 min" or "2 h 5 min"."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


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
    "prompt_text": prompt_text,
    "model_name": model_name,
    "pretty": pretty,
}
