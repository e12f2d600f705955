"""An evaluation as it is shown: what is compared, how far it is, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from activedpo.evaluation import wilson
from activedpo.sequential import confidence_sequence, evidence
from app.evaluations import queries
from app.evaluations.models import Evaluation
from app.evaluations.queries import Tally


@dataclass(frozen=True)
class Result:
    """How often side A wins, a tie as half a win.

    Attributes:
        pairs: that have an answer, and those whose sides wrote the same; the unit of every figure:
            several answers to one pair are no independent ones, and count as their mean.
        rate: NaN-free: None where nothing was answered.
        low, high: Wilson's 95 % interval, for who looks once, when it is over.
        anytime_low, anytime_high: the confidence sequence at the evaluation's level, for who looks
            all the time (`activedpo.sequential`), of pairs with all their answers.
        evidence: the e-value against ½; at ``needed`` it is decided.
    """

    pairs: int
    answers: int
    identical: int
    waiting: int
    rate: float | None
    low: float | None
    high: float | None
    anytime_low: float
    anytime_high: float
    evidence: float
    needed: float

    @classmethod
    def of(cls, evaluation: Evaluation, tally: Tally) -> Result:
        """Work it out."""
        n = sum(tally.all_scores.values())
        share = wilson(sum(score * count for score, count in tally.all_scores.items()), n)
        low, high = confidence_sequence(tally.scores, evaluation.alpha)
        return cls(
            pairs=n,
            answers=tally.answers,
            identical=tally.identical,
            waiting=tally.waiting,
            rate=share.rate if n else None,
            low=share.low if n else None,
            high=share.high if n else None,
            anytime_low=low,
            anytime_high=high,
            evidence=evidence(tally.scores),
            needed=1 / evaluation.alpha,
        )


@dataclass(frozen=True)
class OfAnnotator:
    """What one person said; wins are side A's."""

    person: uuid.UUID
    email: str
    name: str
    wins: int
    ties: int
    both_bad: int
    losses: int
    skips: int
    set_aside: bool

    @property
    def answers(self) -> int:
        """All but skips."""
        return self.wins + self.ties + self.both_bad + self.losses

    @property
    def share(self) -> tuple[float, float, float] | None:
        """(rate, low, high) of A's wins, a tie or both bad as half, with Wilson's interval."""
        if not self.answers:
            return None
        found = wilson(self.wins + (self.ties + self.both_bad) / 2, self.answers)
        return found.rate, found.low, found.high

    def view(self) -> dict[str, Any]:
        """As JSON."""
        rate, low, high = self.share or (None, None, None)
        return {
            "person": self.person,
            "email": self.email,
            "wins": self.wins,
            "ties": self.ties,
            "both_bad": self.both_bad,
            "losses": self.losses,
            "skips": self.skips,
            "rate": rate,
            "low": low,
            "high": high,
            "set_aside": self.set_aside,
        }


def result(session: Session, evaluation: Evaluation) -> Result:
    """What came of an evaluation so far."""
    return Result.of(evaluation, queries.tally(session, evaluation.id))


def annotators(session: Session, evaluation: Evaluation) -> list[OfAnnotator]:
    """Who answered and how, the busiest first."""
    return [OfAnnotator(*tuple(row)) for row in queries.by_annotator(session, evaluation.id)]


def evaluation_view(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON, without its result."""
    return {
        "id": evaluation.id,
        "project": evaluation.project_id,
        "number": evaluation.number,
        "state": evaluation.state,
        "a": {"policy": evaluation.policy_a_id, "outputs": evaluation.outputs_a_id},
        "b": {"policy": evaluation.policy_b_id, "outputs": evaluation.outputs_b_id},
        "prompts": evaluation.prompts,
        "sample": evaluation.sample,
        "pairs": evaluation.pairs,
        "left_out": evaluation.left_out,
        "overlap": evaluation.overlap,
        "answered_by": evaluation.answered_by,
        "alpha": evaluation.alpha,
        "stop_early": evaluation.stop_early,
        "generation": evaluation.generation,
        "progress": {"done": evaluation.progress_done, "total": evaluation.progress_total},
        "better": evaluation.better,
        "error": evaluation.error,
        "created_at": evaluation.created_at,
        "opened_at": evaluation.opened_at,
        "finished_at": evaluation.finished_at,
    }


def full_view(session: Session, evaluation: Evaluation) -> dict[str, Any]:
    """The same with what came of it, in all and by annotator."""
    found = result(session, evaluation)
    return {
        **evaluation_view(evaluation),
        "result": {
            "pairs": found.pairs,
            "answers": found.answers,
            "identical": found.identical,
            "waiting": found.waiting,
            "rate": found.rate,
            "low": found.low,
            "high": found.high,
            "anytime_low": found.anytime_low,
            "anytime_high": found.anytime_high,
            "evidence": found.evidence,
            "evidence_needed": found.needed,
            "annotators": [one.view() for one in annotators(session, evaluation)],
        },
    }


COLUMNS = (
    "id", "pair", "external_id", "prompt", "completion_a", "completion_b", "choice", "winner",
    "left_was", "strength", "rationale", "p_left", "judge", "flags", "reason", "answers",
    "annotator", "set_aside", "late", "seconds", "created_at",
)  # fmt: skip


def exported(rows: Iterator[Any]) -> Iterator[dict[str, Any]]:
    """Answers as rows of a file: a and b are the evaluation's sides here, whatever stood where."""
    for row in rows:
        sides: Mapping[str, str] = {"a": "b", "b": "a"} if row.swapped else {"a": "a", "b": "b"}
        texts = (row.completion_a, row.completion_b)
        a, b = texts[::-1] if row.swapped else texts
        values = {
            "id": str(row.id),
            "pair": str(row.pair),
            "completion_a": a,
            "completion_b": b,
            "winner": sides[row.chosen] if row.chosen else None,
            "left_was": sides[row.left_is],
            "flags": row.flags or [],
            "answers": row.answers or {},
        }
        yield {name: values[name] if name in values else getattr(row, name) for name in COLUMNS}
