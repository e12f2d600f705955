"""Shapes of labelling tools, in which a pair and what several people said of it lie deeper.

Argilla's records: ``fields`` with a prompt and two responses, ``responses`` to the question
``preference``, as versions 1 and 2 write them. Label Studio's tasks: ``data`` with a prompt and two
texts, ``annotations`` with a result of the type ``pairwise``. Where people differ the label is what
most of them said; where no one thing was said most, the pair has none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from app.projects.told import Fields, Label, Told

_PROMPTS = ("prompt", "instruction", "question", "text")
_FIRST = ("response1", "response_1", "response-1", "answer1", "answer_1", "text1", "completion_a")
_SECOND = ("response2", "response_2", "response-2", "answer2", "answer_2", "text2", "completion_b")
_SIDES = {"left": "a", "right": "b"}
QUESTION = "preference"
"""The name of the question in Argilla, as its templates call it."""


def argilla(row: Fields) -> Told:
    """One of Argilla's records.

    Raises:
        ValueError: naming the field.
    """
    fields = _object(row["fields"], "fields")
    pair, sides = _pair(fields, "fields")
    context = fields.get("context")
    if isinstance(context, str) and context.strip() and isinstance(pair["prompt"], str):
        pair["prompt"] = f"{context}\n\n{pair['prompt']}"
    pair["external_id"] = row.get("external_id") or row.get("id")
    values = _values(_decoded(row.get("responses")))
    return Told(pair, _majority([_preferred(value, sides) for value in values]))


def label_studio(row: Fields) -> Told:
    """One of Label Studio's tasks, as its JSON export writes them.

    Raises:
        ValueError: naming the field.
    """
    data = _object(row["data"], "data")
    pair, _ = _pair(data, "data")
    pair["external_id"] = row.get("external_id") or data.get("external_id") or row.get("id")
    return Told(pair, _majority(list(_selected(_decoded(row.get("annotations"))))))


def _pair(fields: Fields, where: str) -> tuple[Fields, tuple[str, str]]:
    """Our own fields, and the names of the two completions."""
    names = []
    for known in (_PROMPTS, _FIRST, _SECOND):
        name = next((one for one in known if fields.get(one) not in (None, "")), None)
        if name is None:
            raise ValueError(f"{where}: has none of {', '.join(known)}")
        names.append(name)
    prompt, first, second = names
    pair = {
        "prompt": _decoded(fields[prompt]),
        "completion_a": _text(fields[first], f"{where}.{first}"),
        "completion_b": _text(fields[second], f"{where}.{second}"),
    }
    return pair, (first, second)


def _text(value: Any, where: str) -> str:
    """A text; of chat messages the last one's."""
    value = _decoded(value)
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content")
    if not isinstance(value, str):
        raise ValueError(f"{where}: must be a text")
    return value


def _values(responses: Any) -> Iterator[Any]:
    """What was answered to the question, one for each person who handed it in."""
    if isinstance(responses, dict):  # version 2: by question
        given = responses.get(QUESTION) or []
        if not isinstance(given, list):
            raise ValueError(f"responses.{QUESTION}: must be a list")
        for one in given:
            yield one.get("value") if isinstance(one, dict) else one
    elif isinstance(responses, list):  # version 1: by person
        for one in responses:
            if not isinstance(one, dict) or one.get("status") in ("discarded", "draft"):
                continue
            answer = (one.get("values") or {}).get(QUESTION)
            if isinstance(answer, dict):
                yield answer.get("value")
    elif responses is not None:
        raise ValueError("responses: must be an object by question, or a list")


def _preferred(value: Any, sides: tuple[str, str]) -> str | None:
    """A label, the first of a ranking or, of equal ranks, a tie; None for none of the two."""
    if isinstance(value, list):
        ranked = [one for one in value if isinstance(one, dict) and "rank" in one]
        if ranked:
            best = min(int(one["rank"]) for one in ranked)
            firsts = [one.get("value") for one in ranked if int(one["rank"]) == best]
            value = "tie" if len(firsts) > 1 else firsts[0]
        else:
            value = value[0] if value else None
    if not isinstance(value, str):
        return None
    word = _plain(value)
    both = dict(zip(map(_plain, sides), ("a", "b"), strict=True))
    return {**both, "tie": "tie", "bothbad": "both_bad"}.get(word)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _selected(annotations: Any) -> Iterator[str | None]:
    if annotations is None:
        return
    if not isinstance(annotations, list):
        raise ValueError("annotations: must be a list")
    for one in annotations:
        if not isinstance(one, dict) or one.get("was_cancelled"):
            continue
        for result in one.get("result") or []:
            if isinstance(result, dict) and result.get("type") == "pairwise":
                yield _SIDES.get(str((result.get("value") or {}).get("selected")))


def _majority(said: list[str | None]) -> Label | None:
    counts = Counter(one for one in said if one is not None).most_common(2)
    if not counts or (len(counts) > 1 and counts[0][1] == counts[1][1]):
        return None
    return Label(counts[0][0])


def _object(value: Any, field: str) -> Fields:
    value = _decoded(value)
    if not isinstance(value, dict):
        raise ValueError(f"{field}: must be an object")
    return value


def _decoded(value: Any) -> Any:
    """What a CSV cell holds as JSON; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
