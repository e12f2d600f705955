"""Every preference of a project as a file, streamed row by row out of the database."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from app.database import get_engine
from app.labelling.models import Preference
from app.people.models import Person
from app.policies import base_models
from app.projects import shape_rows, writing
from app.projects.models import Pair, Project, Prompt
from app.quality.models import is_set_aside
from app.quality.queries import reliability_of
from app.rounds.models import Round

Format = Literal[
    "trl", "hh", "lmarena", "alpaca-eval", "argilla", "label-studio", "jsonl", "parquet", "csv"
]
MEDIA_TYPES: dict[Format, str] = {
    "trl": "application/jsonl",
    "hh": "application/jsonl",
    "lmarena": "application/jsonl",
    "alpaca-eval": "application/json",
    "argilla": "application/json",
    "label-studio": "application/json",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
}
ROWS_AT_ONCE = 500
SIDED = ("left", "right")


@dataclass(frozen=True)
class Shape:
    """A shape that imports read too: its rows, the choices that it can say, how it is written."""

    row: Callable[[Any], dict[str, Any]]
    choices: tuple[str, ...] = SIDED
    write: Callable[[Iterable[dict[str, Any]]], Iterator[bytes]] = writing.lines


SHAPES: dict[str, Shape] = {
    "hh": Shape(shape_rows.hh),
    "lmarena": Shape(shape_rows.lmarena, (*SIDED, "tie", "both_bad")),
    "alpaca-eval": Shape(shape_rows.alpaca_eval, (*SIDED, "tie"), writing.array),
    "argilla": Shape(shape_rows.argilla, (*SIDED, "tie", "both_bad"), writing.array),
    "label-studio": Shape(shape_rows.label_studio, write=writing.array),
}


def suffix(format: Format) -> str:
    """How the file's name ends."""
    if format in SHAPES:
        return "json" if SHAPES[format].write is writing.array else "jsonl"
    return "jsonl" if format == "trl" else format


def is_chat(project: Project, has_conversations: bool) -> bool:
    """Whether the export is conversational: some prompt is, or the base is asked as a chat model.

    Where nothing is known of the base's template the prompts alone decide.
    """
    if has_conversations:
        return True
    return project.chat != "off" and base_models.has_chat_template(project.base_model) is True


def preferences(project_id: uuid.UUID) -> Select[*tuple[Any, ...]]:
    """Every label with its pair, oldest first; those that are set aside left out."""
    return (
        select(
            Preference.id,
            Preference.choice,
            Preference.chosen,
            Preference.left_is,
            Preference.strength,
            Preference.rationale,
            Preference.p_left,
            Preference.judge,
            Preference.flags,
            Preference.reason,
            Preference.answers,
            Preference.seconds,
            Preference.late,
            Preference.recorded,
            Preference.created_at,
            Pair.id.label("pair"),
            Pair.external_id,
            Prompt.content.label("prompt"),
            Pair.completion_a,
            Pair.completion_b,
            Pair.finished_a,
            Pair.finished_b,
            Pair.tokens_prompt,
            Pair.tokens_a,
            Pair.tokens_b,
            Pair.logp_a,
            Pair.logp_b,
            Pair.ref_logp_a,
            Pair.ref_logp_b,
            Pair.audit,
            Pair.margin,
            Pair.entropy,
            Pair.policy_id.label("policy"),
            Person.email.label("annotator"),
            Preference.person_id,
            Round.id.label("round"),
            Round.number.label("round_number"),
        )
        .join(Pair, Pair.id == Preference.pair_id)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .join(Person, Person.id == Preference.person_id)
        .outerjoin(Round, Round.id == Preference.round_id)
        .where(
            Preference.project_id == project_id,
            Preference.deleted_at.is_(None),
            Preference.is_label,
            ~is_set_aside(),
        )
        .order_by(Preference.id)
    )


def streamed(query: Select[*tuple[Any, ...]]) -> Iterator[Row[*tuple[Any, ...]]]:
    """The rows, read as they are asked for."""
    # A server-side cursor in a snapshot of its own: what is labelled meanwhile is not half in it
    with (
        get_engine()
        .connect()
        .execution_options(isolation_level="REPEATABLE READ", yield_per=ROWS_AT_ONCE) as connection
    ):
        yield from connection.execute(query)


def full_row(row: Row[*tuple[Any, ...]], reliable: Mapping[uuid.UUID, float]) -> dict[str, Any]:
    """A label with all that is known of it, sides and choices kept apart."""
    return {
        "id": str(row.id),
        "pair": str(row.pair),
        "external_id": row.external_id,
        "prompt": row.prompt,
        "completion_a": row.completion_a,
        "completion_b": row.completion_b,
        "finished_a": row.finished_a,
        "finished_b": row.finished_b,
        "tokens_prompt": row.tokens_prompt,
        "tokens_a": row.tokens_a,
        "tokens_b": row.tokens_b,
        "logp_a": row.logp_a,
        "logp_b": row.logp_b,
        "ref_logp_a": row.ref_logp_a,
        "ref_logp_b": row.ref_logp_b,
        "choice": row.choice,
        "chosen": row.chosen,
        "left_is": row.left_is,
        "strength": row.strength,
        "rationale": row.rationale,
        "p_left": row.p_left,
        "judge": row.judge,
        "flags": row.flags or [],
        "reason": row.reason,
        "answers": row.answers or {},
        "annotator": row.annotator,
        "reliability": reliable.get(row.person_id),
        "round": str(row.round) if row.round else None,
        "round_number": row.round_number,
        "policy": str(row.policy) if row.policy else None,
        "audit": row.audit,
        "margin": row.margin,
        "entropy": row.entropy,
        "late": row.late,
        "recorded": row.recorded,
        "seconds": row.seconds,
        "created_at": row.created_at,
    }


def export(project: Project, format: Format, chat: bool) -> Iterator[bytes]:
    """The file, piece by piece.

    Args:
        chat: whether the rows of ``trl`` are conversational; all of them are of one shape.
    """
    query = preferences(project.id)
    if format == "trl":
        decided = query.where(Preference.choice.in_(SHAPES["hh"].choices))
        rows = (shape_rows.trl(row, chat, project.system_prompt) for row in streamed(decided))
        return writing.lines(rows)
    if format in SHAPES:
        shape = SHAPES[format]
        chosen = streamed(query.where(Preference.choice.in_(shape.choices)))
        return shape.write(shape.row(row) for row in chosen)
    reliable: dict[uuid.UUID, float] = {}
    if project.weighs_opinions:
        with Session(get_engine()) as session:
            reliable = reliability_of(session, project.id)
    return writing.WRITERS[format](full_row(row, reliable) for row in streamed(query))
