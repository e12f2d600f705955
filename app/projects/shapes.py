"""Shapes that files of pairs come in, each read as our own: a prompt and two completions.

Own shape first; then trl (https://huggingface.co/docs/trl/dataset_formats), Anthropic's hh
transcripts, LMArena battles, AlpacaEval outputs, and what labelling tools write
(:mod:`app.projects.tool_shapes`). The first row that can be read decides for
the whole file, so that a later row which lacks a field is refused by that field's name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from app.errors import Invalid
from app.language import _
from app.projects import tool_shapes
from app.projects.row import Columns, Rejected, Row
from app.projects.told import Fields, Label, Told

Messages = list[dict[str, Any]]

_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS = {"Human", "Assistant"}
_WINNERS = {
    "model_a": "a",
    "model_b": "b",
    "tie": "tie",
    "tie (bothbad)": "both_bad",
    "both_bad": "both_bad",
    "bothbad": "both_bad",
}


@dataclass(frozen=True)
class Shape:
    """A way of writing pairs down. ``read`` raises ValueError naming the field."""

    name: str
    title: str
    columns: Columns
    read: Callable[[Fields], Told]


_SAID = {
    **dict.fromkeys(("a", "1", "completion_a", "model_a"), "a"),
    **dict.fromkeys(("b", "2", "completion_b", "model_b"), "b"),
    **dict.fromkeys(("both_bad", "bothbad", "tie (bothbad)"), "both_bad"),
    "tie": "tie",
}


def _own(fields: Fields) -> Told:
    return Told(fields)


def _own_said(fields: Fields) -> Told:
    """Ours with its column ``label``."""
    given = fields.get("label")
    if given is None or given == "":
        return Told(fields)
    said = _SAID.get(str(given).strip().lower())
    if said is None:
        raise ValueError("label: must be a, b, tie or both_bad")
    return Told(fields, Label(said))


def _trl(fields: Fields) -> Told:
    prompt = _decoded(fields["prompt"])
    before, chosen, rejected = _endings(fields, "chosen", "rejected")
    if before and isinstance(prompt, list):
        begun = _messages(prompt, "prompt")
        prompt = before if before[: len(begun)] == begun else begun + before
    elif before:
        prompt = before
    elif isinstance(prompt, list):
        prompt = _messages(prompt, "prompt")
    return _decided(fields, prompt, chosen, rejected)


def _implicit(fields: Fields) -> Told:
    """The prompt is what both begin with, cut as trl's ``extract_prompt`` cuts it."""
    chosen, rejected = _decoded(fields["chosen"]), _decoded(fields["rejected"])
    if isinstance(chosen, list) or isinstance(rejected, list):
        before, one, other = _endings(fields, "chosen", "rejected")
        return _decided(fields, before, one, other)
    _require_text(chosen, "chosen")
    _require_text(rejected, "rejected")
    if chosen == rejected:
        raise ValueError("chosen, rejected: are the same, so the prompt cannot be told from them")
    shared = next(
        (n for n, (x, y) in enumerate(zip(chosen, rejected, strict=False)) if x != y),
        min(len(chosen), len(rejected)),
    )
    if shared and chosen[shared - 1] == " ":
        shared -= 1
    if not chosen[:shared].strip():
        raise ValueError("chosen, rejected: share no beginning that could be the prompt")
    return _decided(fields, chosen[:shared], chosen[shared:], rejected[shared:])


def _hh(fields: Fields) -> Told:
    turns = {name: _transcript(fields[name], name) for name in ("chosen", "rejected")}
    before, chosen, rejected = _endings(turns, "chosen", "rejected")
    return _decided(fields, before, chosen, rejected)


def _transcript(value: Any, field: str) -> Messages:
    _require_text(value, field)
    head, *parts = _TURN.split("\n\n" + value.lstrip())
    if not parts:
        raise ValueError(f'{field}: must be turns that begin with "Human:" and "Assistant:"')
    system = [{"role": "system", "content": head.strip()}] if head.strip() else []
    roles = {"Human": "user", "Assistant": "assistant"}
    return system + [
        {"role": roles[who], "content": said.strip()}
        for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _lmarena(fields: Fields) -> Told:
    before, a, b = _endings(fields, "conversation_a", "conversation_b")
    label = None
    if fields.get("winner") is not None:
        if fields["winner"] not in _WINNERS:
            raise ValueError(f"winner: must be one of {', '.join(_WINNERS)}")
        label = Label(_WINNERS[fields["winner"]])
    return Told(_pair(fields, before, a, b), label)


def _alpaca_eval(fields: Fields) -> Told:
    instruction = fields["instruction"]
    _require_text(instruction, "instruction")
    if fields.get("input"):
        _require_text(fields["input"], "input")
        instruction = f"{instruction}\n\n{fields['input']}"
    for field in ("output_1", "output_2"):
        _require_text(fields[field], field)
    pair = _pair(fields, instruction, fields["output_1"], fields["output_2"])
    return Told(pair, _preferred(fields.get("preference")))


def _preferred(value: Any) -> Label | None:
    """AlpacaEval's verdict: from 1 (the first is better) to 2; 0, or half way, is a tie."""
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if number == 0:
        number = 1.5
    if isinstance(value, bool) or not 1 <= number <= 2:
        raise ValueError("preference: must be a number from 1 (output_1) to 2 (output_2), or 0")
    said = "tie" if number == 1.5 else "a" if number < 1.5 else "b"
    return Label(said, 2 - number if number not in (1, 2) else None)


def _decided(fields: Fields, prompt: Any, chosen: str, rejected: str) -> Told:
    """Chosen and rejected as a and b, in an order that tells nothing of which was which."""
    first, second = sorted((chosen, rejected), key=_digest)
    return Told(_pair(fields, prompt, first, second), Label("a" if first == chosen else "b"))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _pair(fields: Fields, prompt: Any, a: str, b: str) -> Fields:
    id = next((fields[n] for n in ("external_id", "question_id") if fields.get(n)), None)
    return {"prompt": prompt, "completion_a": a, "completion_b": b, "external_id": id}


def _endings(fields: Fields, one: str, other: str) -> tuple[Messages, str, str]:
    """What two conversations have in common, and the answer that each one ends with."""
    (before, first), (also, second) = _ending(fields, one), _ending(fields, other)
    if before != also:
        raise ValueError(
            f"{one}, {other}: part before the last answer; pairs share all that comes before it"
        )
    return before, first, second


def _ending(fields: Fields, field: str) -> tuple[Messages, str]:
    value = _decoded(fields[field])
    if isinstance(value, str):
        return [], value
    messages = _messages(value, field)
    if not messages or messages[-1]["role"] != "assistant":
        raise ValueError(f"{field}: must end with a message of the assistant")
    return messages[:-1], messages[-1]["content"]


def _messages(value: Any, field: str) -> Messages:
    if not isinstance(value, list):
        raise ValueError(f"{field}: must be a text, or a list of messages {{role, content}}")
    return [_message(item, f"{field}: message {number}") for number, item in enumerate(value)]


def _message(item: Any, place: str) -> dict[str, Any]:
    if not isinstance(item, dict) or "role" not in item or "content" not in item:
        raise ValueError(f"{place}: must have role and content")
    content = item["content"]
    if isinstance(content, list):  # LMArena's newer files: parts, the text among them
        parts = [p for p in content if isinstance(p, dict) and p.get("type") == "text"]
        if len(parts) != len(content):
            raise ValueError(f"{place}: has parts that are no text")
        content = "".join(str(part.get("text") or "") for part in parts)
    _require_text(content, place)
    return {"role": item["role"], "content": content}


def _require_text(value: Any, field: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{field}: must be a text")


def _decoded(value: Any) -> Any:
    """Messages that a CSV cell holds as JSON; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    listed = isinstance(found, list) and found
    return found if listed and all(isinstance(m, dict) and "role" in m for m in found) else value


_ID = ("external_id", "gold")
OTHERS = (
    Shape("trl", _("trl: prompt, chosen, rejected"),
          Columns(["prompt", "chosen", "rejected"], _ID), _trl),
    Shape("hh", _("Anthropic hh: two transcripts"),
          Columns(["chosen", "rejected"], _ID), _hh),
    Shape("trl-implicit", _("trl: chosen and rejected that begin with their prompt"),
          Columns(["chosen", "rejected"], _ID), _implicit),
    Shape("lmarena", _("LMArena battles"),
          Columns(["conversation_a", "conversation_b"], ["winner", "question_id", *_ID]),
          _lmarena),
    Shape("alpaca-eval", _("AlpacaEval outputs"),
          Columns(["instruction", "output_1", "output_2"], ["input", "preference", *_ID]),
          _alpaca_eval),
    Shape("argilla", _("Argilla records"),
          Columns(["fields"], ["responses", "id", "status", "metadata", "suggestions", "vectors",
                               *_ID]), tool_shapes.argilla),
    Shape("label-studio", _("Label Studio tasks (JSON)"),
          Columns(["data"], ["annotations", "id", *_ID]), tool_shapes.label_studio),
)  # fmt: skip
OWN = Shape(
    "own",
    _("ours: prompt, completion_a, completion_b"),
    Columns(
        ["prompt", "completion_a", "completion_b"],
        ["external_id", "gold", "answer", "explanation", "label"],
        instead=[shape.columns for shape in OTHERS],
    ),
    _own,
)


def _fits(shape: Shape, fields: Fields) -> bool:
    if not all(name in fields for name in shape.columns.required):
        return False
    if shape.name != "hh":
        return True
    return all(
        isinstance(fields[name], str) and set(_TURN.findall("\n\n" + fields[name])) == _SPEAKERS
        for name in shape.columns.required
    )


def _checked(shape: Shape) -> Shape:
    """The same shape, missing fields named before anything is read."""

    def read(fields: Fields) -> Told:
        for name in shape.columns.required:
            if fields.get(name) is None:
                raise ValueError(f"{name}: is missing")
        return shape.read(fields)

    return replace(shape, read=read)


def recognised(
    rows: Iterable[Row | Rejected],
    *,
    name: str | None = None,
    fields: Collection[str] = (),
    labels: bool = False,
) -> tuple[Shape, Iterator[Row | Rejected]]:
    """The shape of a file by its first row that can be read, and all its rows.

    A row that fits none is taken for our own shape, whose missing field is then named.

    Args:
        name: the shape it is said to be of: nothing is guessed then.
        fields: those of ours that a mapping gave; a shape that has them all is preferred.
        labels: read our own shape's column ``label``.

    Raises:
        Invalid: there is no shape of that name.
    """
    ahead: list[Row | Rejected] = []
    left = iter(rows)
    found = OWN if name is None else _called(name)
    for row in left:
        ahead.append(row)
        if isinstance(row, Row):
            if name is None:
                fits = [s for s in (OWN, *OTHERS) if _fits(s, row.fields)]
                having = (s for s in fits if s.columns.has(fields))
                found = next(having, fits[0] if fits else OWN)
            break
    if found is OWN:
        return (replace(OWN, read=_own_said) if labels else OWN), chain(ahead, left)
    return _checked(found), chain(ahead, left)


def _called(name: str) -> Shape:
    for shape in (OWN, *OTHERS):
        if shape.name == name:
            return shape
    known = ", ".join(shape.name for shape in (OWN, *OTHERS))
    raise Invalid(
        _("shape: there is none called so; there are %(known)s", known=known), field="shape"
    )
