"""Labels as rows of the shapes that imports read: one row a label, sides undone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from app.projects import content

Label = Row[*tuple[Any, ...]]

SAID = ("a", "b", "tie", "both_bad")
WINNERS = {"a": "model_a", "b": "model_b", "tie": "tie", "both_bad": "tie (bothbad)"}
SPEAKERS = {"user": "Human", "assistant": "Assistant"}


def said(row: Label) -> str:
    """a, b, tie or both_bad."""
    return str(row.chosen or row.choice)


def trl(row: Label, chat: bool, system_prompt: str | None) -> dict[str, Any]:
    """A left or right choice as `trl.DPOTrainer` takes it: explicit prompt, chosen, rejected."""
    chosen, rejected = row.completion_a, row.completion_b
    if row.chosen == "b":
        chosen, rejected = rejected, chosen
    if not chat:
        return {"prompt": row.prompt, "chosen": chosen, "rejected": rejected}
    return {
        "prompt": content.conversation(row.prompt, system_prompt),
        "chosen": [_answer(chosen)],
        "rejected": [_answer(rejected)],
    }


def hh(row: Label) -> dict[str, Any]:
    """A left or right choice as Anthropic's hh has it: two whole transcripts.

    The shape knows no system turn: it stands before the first turn, as it is in that data.
    """
    turns = trl(row, True, None)
    before = "".join(_turn(message) for message in turns["prompt"])
    return {name: before + _turn(turns[name][0]) for name in ("chosen", "rejected")}


def _turn(message: dict[str, str]) -> str:
    who = SPEAKERS.get(message["role"])
    return f"\n\n{who}: {message['content']}" if who else message["content"]


def lmarena(row: Label) -> dict[str, Any]:
    """A battle: two whole conversations and the winner. Models have no names here."""
    before = content.conversation(row.prompt, None)
    return {
        "question_id": row.external_id or str(row.pair),
        "model_a": "a",
        "model_b": "b",
        "winner": WINNERS[said(row)],
        "judge": row.annotator,
        "conversation_a": [*before, _answer(row.completion_a)],
        "conversation_b": [*before, _answer(row.completion_b)],
    }


def alpaca_eval(row: Label) -> dict[str, Any]:
    """An annotation of AlpacaEval: 1 for the first output, 2 for the second, 1.5 for a tie; what
    lies between says how sure an oracle was. The shape knows no conversation: a prompt of
    several messages is written with their roles."""
    sure = {"a": 1.0, "b": 2.0, "tie": 1.5}[said(row)]
    if row.p_left is not None and row.chosen is not None:
        p_a = row.p_left if row.left_is == "a" else 1.0 - row.p_left
        sure = 2.0 - p_a
    return {
        "instruction": _plain(row.prompt),
        "output_1": row.completion_a,
        "output_2": row.completion_b,
        "preference": sure,
        "annotator": row.annotator,
        "external_id": row.external_id,
    }


def _plain(prompt: content.Content) -> str:
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)


def argilla(row: Label) -> dict[str, Any]:
    """A record of Argilla 2, with one answer to the label question ``preference``."""
    value = {"a": "response1", "b": "response2"}.get(said(row), said(row))
    return {
        "id": row.external_id or str(row.pair),
        "fields": {
            "prompt": row.prompt,
            "response1": row.completion_a,
            "response2": row.completion_b,
        },
        "metadata": {"pair": str(row.pair)},
        "responses": {"preference": [{"value": value, "user_id": row.annotator}]},
        "suggestions": {},
        "vectors": {},
    }


def label_studio(row: Label) -> dict[str, Any]:
    """A task of Label Studio with one annotation by its control tag ``Pairwise``."""
    result = {
        "from_name": "comparison",
        "to_name": "answer1,answer2",
        "type": "pairwise",
        "value": {"selected": "left" if row.chosen == "a" else "right"},
    }
    return {
        "data": {
            "prompt": row.prompt,
            "answer1": row.completion_a,
            "answer2": row.completion_b,
            "external_id": row.external_id,
        },
        "annotations": [
            {"completed_by": {"email": row.annotator}, "result": [result], "was_cancelled": False}
        ],
    }


def _answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
