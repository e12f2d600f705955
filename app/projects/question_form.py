"""The questions of a project as rows of its form, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.projects.questions import MOST, name_of

BLANKS = 2
_BLANK = {"title": "", "name": "", "kind": "single", "options": "", "scale": "", "required": False}


def rows(questions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The questions as they stand in the form, with some blank rows for further ones."""
    filled = [
        {
            **_BLANK,
            **{name: value for name, value in question.items() if value is not None},
            "options": "\n".join(question.get("options") or []),
        }
        for question in questions
    ]
    return filled + [dict(_BLANK) for _ in range(min(BLANKS, MOST - len(filled)))]


def sent_rows(sent: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows as they were sent, those left out in which nothing stands."""
    numbers = sorted(
        {
            int(number)
            for prefix, _, number in (key.rpartition(".")[0].partition(".") for key in sent)
            if prefix == "questions" and number.isascii() and number.isdecimal()
        }
    )
    found = []
    for n in numbers[: 2 * MOST]:
        row = {name: sent.get(f"questions.{n}.{name}", "").strip() for name in _BLANK}
        if row["title"] or row["name"] or row["options"]:
            found.append({**row, "required": f"questions.{n}.required" in sent})
    return found


def parsed(sent: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows as the schema takes them; a question without a name is given one."""
    questions: list[dict[str, Any]] = []
    rows = sent_rows(sent)
    given = [row["name"] for row in rows if row["name"]]
    for row in rows:
        chooses = row["kind"] in ("single", "multi")
        options = [line.strip() for line in row["options"].splitlines() if line.strip()]
        taken = given + [question["name"] for question in questions]
        question = {**row, "name": row["name"] or name_of(row["title"], taken)}
        question["options"] = options if chooses else None
        question["scale"] = _scale(row["scale"]) if row["kind"] == "rating" else None
        questions.append(question)
    return questions


def _scale(value: str) -> Any:
    """As a number where it is one; what is none the schema refuses, naming the field."""
    if not value:
        return None
    return int(value) if value.isascii() and value.isdecimal() else value
