"""Questions of a project beside the choice, and whether what was said answers them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator

from app.errors import Invalid
from app.language import _
from app.storable import Text

MOST = 20
LONGEST_ANSWER = 5_000
KINDS = ("single", "multi", "rating", "text")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

Option = Annotated[Text, Field(min_length=1, max_length=200)]


class Question(BaseModel):
    """One further question about a pair.

    ``name`` is what its answers are called in the API and in exports. ``options`` are the answers
    to choose from, of ``single`` one, of ``multi`` any number; ``scale`` is the highest mark of a
    ``rating``, the lowest is 1. ``required``: an answer of a person is refused without it, unless
    they skip the pair.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    title: Annotated[Text, Field(min_length=1, max_length=300)]
    kind: Literal["single", "multi", "rating", "text"]
    options: Annotated[list[Option], Field(max_length=30)] | None = None
    scale: Annotated[int, Field(ge=2, le=10)] | None = None
    required: StrictBool = False

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(_("small letters, digits and _, a letter first, at most 40"))
        return name

    @field_validator("options")
    @classmethod
    def _are_different(cls, options: list[str] | None) -> list[str] | None:
        stripped = [option.strip() for option in options or []]
        if not all(stripped):
            raise ValueError(_("none of them may be blank"))
        if len({option.casefold() for option in stripped}) < len(stripped):
            raise ValueError(_("each only once"))
        return stripped or None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Question:
        chooses = self.kind in ("single", "multi")
        if chooses and len(self.options or []) < (2 if self.kind == "single" else 1):
            raise ValueError(
                _("options: a %(kind)s choice needs some to choose from", kind=self.kind)
            )
        if not chooses and self.options:
            raise ValueError(_("options: a %(kind)s has none", kind=self.kind))
        if self.kind != "rating" and self.scale is not None:
            raise ValueError(_("scale: a %(kind)s has none", kind=self.kind))
        if self.kind == "rating" and self.scale is None:
            self.scale = 5
        return self


def named_apart(questions: list[Question]) -> list[Question]:
    """The questions, where no two have one name.

    Raises:
        ValueError: two have.
    """
    seen: set[str] = set()
    for question in questions:
        if question.name in seen:
            raise ValueError(
                _("two are called %(name)s; answers are told apart by name", name=question.name)
            )
        seen.add(question.name)
    return questions


Questions = Annotated[list[Question], Field(max_length=MOST)]


def name_of(title: str, taken: Sequence[str]) -> str:
    """A name for a question that was given none: its title in small letters, else its number."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:36].rstrip("_")
    base = words if _NAME.fullmatch(words) else f"question_{len(taken) + 1}"
    name, n = base, 2
    while name in taken:
        name, n = f"{base}_{n}", n + 1
    return name


def checked(
    questions: Sequence[Mapping[str, Any]], said: Mapping[str, Any] | None, *, complete: bool
) -> dict[str, Any] | None:
    """What was said in answer to a project's questions, in their order; None where it is nothing.

    Args:
        complete: whether every required question has to be answered.

    Raises:
        Invalid: naming every question whose answer cannot be taken, or is missing.
    """
    given = {name: value for name, value in (said or {}).items() if value not in (None, "", [])}
    wrong = [
        {"field": f"answers.{name}", "message": _("this project asks no such question")}
        for name in sorted(set(given) - {question["name"] for question in questions})
    ]
    wrong += _faults(questions, given, complete)
    if wrong:
        raise Invalid("; ".join(f"{e['field']}: {e['message']}" for e in wrong), errors=wrong)
    names = [question["name"] for question in questions]
    return {name: _kept(given[name]) for name in names if name in given} or None


def sent(
    questions: Sequence[Mapping[str, Any]], values: Callable[[str], Sequence[Any]]
) -> dict[str, Any]:
    """What a form says to the questions, whose fields are called ``answers.<name>``."""
    given: dict[str, Any] = {}
    for question in questions:
        texts = [v for v in values(f"answers.{question['name']}") if isinstance(v, str) and v]
        if question["kind"] == "multi":
            given[question["name"]] = texts
        elif texts:
            number = question["kind"] == "rating" and texts[0].isdecimal()
            given[question["name"]] = int(texts[0]) if number else texts[0]
    return given


def _kept(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _faults(
    questions: Sequence[Mapping[str, Any]], given: Mapping[str, Any], complete: bool
) -> Iterator[dict[str, str]]:
    for question in questions:
        field = f"answers.{question['name']}"
        if question["name"] in given:
            if fault := _fault(question, given[question["name"]]):
                yield {"field": field, "message": fault}
        elif complete and question["required"]:
            yield {
                "field": field,
                "message": _(
                    "this project wants an answer: %(question)s", question=question["title"]
                ),
            }


def _listed(options: Sequence[str]) -> str:
    return ", ".join(map(repr, options))


def _fault(question: Mapping[str, Any], value: Any) -> str | None:
    """What is wrong with an answer, if anything is."""
    options = question.get("options") or []
    match question["kind"]:
        case "single":
            return None if value in options else _("one of %(options)s", options=_listed(options))
        case "multi":
            several = isinstance(value, list) and all(isinstance(one, str) for one in value)
            if several and set(value) <= set(options) and len(set(value)) == len(value):
                return None
            return _("a list of some of %(options)s, each once", options=_listed(options))
        case "rating":
            scale = question["scale"]
            whole = isinstance(value, int) and not isinstance(value, bool)
            return (
                None
                if whole and 1 <= value <= scale
                else _("a whole number from 1 to %(scale)s", scale=scale)
            )
        case _:
            if not isinstance(value, str) or not value.strip():
                return _("a text")
            long = len(value) > LONGEST_ANSWER
            return _("at most %(number)s characters", number=LONGEST_ANSWER) if long else None
