"""The project form: its fields as text, and back into settings as the schema takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from activedpo import acquisition
from app.errors import Invalid
from app.language import _
from app.projects import question_form
from app.projects.models import Project
from app.projects.schema import ProjectSettings
from app.settings import get_settings
from app.web import line_ends


def _quantiles(value: str) -> list[float]:
    return [float(part) for part in value.replace(",", " ").split()]


def _optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda value: parse(value) if value.strip() else None


FIELDS: dict[str, Callable[[str], Any]] = {
    "name": line_ends,
    "base_model": _optional(str.strip),
    "system_prompt": _optional(line_ends),
    "chat": str,
    "source": str,
    "generation.max_new_tokens": int,
    "generation.temperature": float,
    "generation.top_p": _optional(float),
    "generation.top_k": _optional(int),
    "generation.entropy_samples": int,
    "generation.prune": _optional(_quantiles),
    "generation.near_duplicates": _optional(float),
    "generation.eval_prompts": int,
    "acquisition": str,
    "cold_start": str,
    "batch_size": int,
    "pool_size": _optional(int),
    "audit_fraction": float,
    "guidelines": line_ends,
    "overlap": int,
    "overlap_share": float,
    "claim_seconds": _optional(int),
    "break_minutes": _optional(int),
    "quota": _optional(int),
    "quota_per_round": _optional(int),
    "keep_policies": _optional(int),
    "gold_share": float,
    "practice_pass": _optional(float),
    "training.reset": str,
    "training.lora": int,
    "training.beta": float,
    "training.learning_rate": _optional(float),
    "training.epochs": int,
    "training.max_steps": _optional(int),
    "training.batch_size": int,
    "training.loss": str,
    "training.ties": str,
    "training.opinions": str,
    "training.gate": _optional(float),
    "training.processes": int,
    "training.strategy": str,
}
SWITCHES = ("auto_next", "adjudicate", "require_rationale", "own_figures", "paused")

_KNOWN = {
    "certainty": _("Certainty: where the policy prefers one completion most strongly"),
    "entropy": _("Entropy: prompts that the policy answers most variously"),
    "entropy_certainty": _("Entropy, then certainty: both, one after the other"),
    "random": _("Random: no model decides"),
    "closest_call": _("Closest call: where the policy hardly prefers either"),
}
_JUDGES = {
    "": _("None"),
    "sentiment": _("Sentiment: the friendlier text (VADER)"),
    "length": _("Length: the longer text"),
}
SHORT = {
    "certainty": _("certainty"),
    "entropy": _("entropy"),
    "entropy_certainty": _("entropy, then certainty"),
    "random": _("random"),
    "closest_call": _("closest call"),
}
"""Acquisition functions in a word; the others are called by their name."""


def strategies() -> list[tuple[str, str]]:
    """(name, what it does) of every acquisition function, the recommended ones first."""
    names = sorted(acquisition.names(), key=lambda n: (n not in _KNOWN, [*_KNOWN, n].index(n)))
    return [(name, _KNOWN.get(name, name)) for name in names]


def judges(current: str) -> list[tuple[str, str]]:
    """(kind, what it does) of the judges to choose from, and the one there is."""
    return list({**_JUDGES, current: _JUDGES.get(current, current)}.items())


def blank() -> dict[str, Any]:
    """The form of a project that does not exist yet, with the defaults."""
    values = ProjectSettings(name="-").model_dump()
    return {**_flat(values), "name": "", "base_model": get_settings().default_base_model}


def filled(project: Project) -> dict[str, Any]:
    """The form of a project as it is."""
    return _flat({name: getattr(project, name) for name in ProjectSettings.model_fields})


def refilled(sent: Mapping[str, str]) -> dict[str, Any]:
    """The form as it was sent, to be corrected."""
    switches = {name: name in sent for name in SWITCHES}
    switches["generation.engine.lora"] = "generation.engine.lora" in sent
    questions = question_form.rows(question_form.sent_rows(sent))
    return {**blank(), **dict(sent), **switches, "questions": questions}


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in ("generation", "training"):
            flat.update({f"{name}.{key}": item for key, item in value.items()})
        else:
            flat[name] = value
    asked = question_form.rows(flat.pop("questions"))
    flat["judge.kind"] = (flat.pop("judge") or {}).get("kind", "")
    engine = flat.pop("generation.engine", None) or {}
    flat |= {f"generation.engine.{key}": engine.get(key) for key in ("base_url", "model", "lora")}
    flat["generation.engine.has_key"] = bool(engine.get("api_key"))
    return {key: _shown(value) for key, value in flat.items()} | {"questions": asked}


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(f"{part:g}" for part in value)
    return f"{value:g}" if isinstance(value, float) else value


def parsed(
    sent: Mapping[str, str],
    stored_judge: dict[str, Any] | None = None,
    stored_engine: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What was sent, as settings; only fields that were sent.

    Raises:
        Invalid: a number is none, naming its field.
    """
    values: dict[str, Any] = {"generation": {}, "training": {}}
    wrong = []
    for name, parse in FIELDS.items():
        if name not in sent:
            continue
        try:
            value = parse(sent[name])
        except ValueError:
            whole = _("must be a whole number"), _("must be a number")
            wrong.append({"field": name, "message": whole[parse is not int]})
            continue
        place, __, key = name.rpartition(".")
        (values[place] if place else values)[key] = value
    if wrong:
        raise Invalid("; ".join(f"{e['field']}: {e['message']}" for e in wrong), errors=wrong)
    if "generation.engine.base_url" in sent:
        values["generation"]["engine"] = _engine(sent, stored_engine)
    kind = sent.get("judge.kind", "")
    same = stored_judge is not None and stored_judge.get("kind") == kind
    values["judge"] = stored_judge if same else {"kind": kind} if kind else None
    if "questions.0.kind" in sent:
        values["questions"] = question_form.parsed(sent)
    return {**values, **{name: name in sent for name in SWITCHES}}


def _engine(sent: Mapping[str, str], stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """The server that samples; its key stays as long as the address does."""
    address = sent["generation.engine.base_url"].strip()
    if not address:
        return None
    before = stored or {}
    key = sent.get("generation.engine.api_key", "").strip() or before.get("api_key")
    moved = before.get("base_url") not in (None, address.rstrip("/"))
    if moved and not sent.get("generation.engine.api_key", "").strip():
        key = None  # never carried to another address
    return {
        **before,
        "base_url": address,
        "model": sent.get("generation.engine.model", "").strip(),
        "api_key": key,
        "lora": "generation.engine.lora" in sent,
    }
