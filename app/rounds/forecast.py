"""What the next round will cost in time, from what the last ones took.

Each of the last rounds gives one forecast: how long it stood in a stage, its part that grows with
the work (all but loading a model and waiting for a worker) scaled by the sizes of the next round.
The median of these is told, and the smallest and largest as an interval; of one round alone there
is none.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.labelling.models import Preference
from app.projects.models import Pair, Project
from app.rounds import queries
from app.rounds.models import Event, Round, Run

LAST = 5
"""Rounds that are looked at."""

STAGES = ("generating", "labelling", "training", "evaluating")
KIND_OF = {"generating": "generate", "training": "train", "evaluating": "evaluate"}
UNIT_OF = {
    "generating": "pairs of the pool",
    "labelling": "answers",
    "training": "pairs trained on",
    "evaluating": "prompts",
}
NO_ROUND = "No round of this project is done yet: there is nothing to reckon from."


@dataclass(frozen=True)
class Past:
    """What one round took.

    Attributes:
        seconds: by stage, from the log: how long the round stood in it.
        work: the part of it that grows with the size, where workers told it.
        units: how much it was, by stage.
        answer_seconds: the median time that people spent on a pair; None where unknown.
    """

    number: int
    seconds: Mapping[str, float]
    work: Mapping[str, float]
    units: Mapping[str, float]
    answer_seconds: float | None = None


@dataclass(frozen=True)
class Span:
    """Seconds expected, and between which they may well be (None: one round is no interval)."""

    seconds: float
    low: float | None
    high: float | None
    units: float
    unit: str

    def view(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "seconds": round(self.seconds, 1),
            "low": None if self.low is None else round(self.low, 1),
            "high": None if self.high is None else round(self.high, 1),
            "units": self.units,
            "unit": self.unit,
        }


@dataclass(frozen=True)
class Forecast:
    """The next round's time by stage; ``reason`` says why there is none.

    ``effort`` is the time that people spend on the pairs, in seconds, all of them together.
    """

    number: int
    rounds: Sequence[int]
    stages: Mapping[str, Span]
    effort: float | None = None
    reason: str | None = None

    @property
    def model_work(self) -> Span | None:
        """What workers do, without the labelling."""
        return _sum([span for stage, span in self.stages.items() if stage != "labelling"])

    @property
    def total(self) -> Span | None:
        """All of it."""
        return _sum(list(self.stages.values()))

    def view(self) -> dict[str, Any]:
        """As JSON."""
        total = self.total
        return {
            "round": self.number,
            "from_rounds": list(self.rounds),
            "seconds": total and round(total.seconds, 1),
            "low": total.view()["low"] if total else None,
            "high": total.view()["high"] if total else None,
            "stages": {stage: span.view() for stage, span in self.stages.items()},
            "labelling_effort_seconds": self.effort and round(self.effort, 1),
            "reason": self.reason,
        }


def forecast(session: Session, project: Project) -> Forecast:
    """What the project's next round will take."""
    number = queries.last_number(session, project.id) + 1
    past = _past(session, project)
    if not past:
        return Forecast(number, [], {}, reason=NO_ROUND)
    answers = _answers(project)
    sizes = {
        "generating": float(_pool(session, project)),
        "labelling": answers,
        "training": _trained_next(past, project),
        "evaluating": median(one.units["evaluating"] for one in past),
    }
    spans = {stage: span for stage in STAGES if (span := expected(stage, past, sizes[stage]))}
    paces = [one.answer_seconds for one in past if one.answer_seconds is not None]
    effort = median(paces) * answers if paces else None
    return Forecast(number, [one.number for one in past], spans, effort)


def expected(stage: str, past: Sequence[Past], size: float) -> Span | None:
    """One stage of a round of ``size`` units; None where no past round had it."""
    found = [
        _scaled(one.seconds[stage], one.work.get(stage), one.units.get(stage, 0.0), size)
        for one in past
        if stage in one.seconds
    ]
    if not found:
        return None
    sure = len(found) > 1
    low, high = (min(found), max(found)) if sure else (None, None)
    return Span(median(found), low, high, size, UNIT_OF[stage])


def _scaled(seconds: float, work: float | None, units: float, size: float) -> float:
    """``seconds`` of a stage with the part that grows scaled from ``units`` to ``size``."""
    if not units:
        return seconds
    growing = seconds if work is None else min(seconds, work)  # shards work side by side
    return seconds - growing + growing * size / units


def _sum(spans: Sequence[Span]) -> Span | None:
    if not spans:
        return None
    lows, highs = [span.low for span in spans], [span.high for span in spans]
    known = None not in lows
    return Span(
        sum(span.seconds for span in spans),
        sum(low for low in lows if low is not None) if known else None,
        sum(high for high in highs if high is not None) if known else None,
        0.0,
        "",
    )


def _answers(project: Project) -> float:
    """Answers of a batch: ``overlap`` on a share of the pairs, one on the others."""
    shared = project.batch_size * project.overlap_share
    return project.batch_size - shared + shared * project.overlap


def _pool(session: Session, project: Project) -> int:
    if project.source == "generated":
        return project.effective_pool_size
    waiting = select(func.count()).select_from(Pair).where(queries.in_pool(project.id))
    there = session.scalar(waiting) or 0
    return min(there, project.pool_size or there)


def _trained_next(past: Sequence[Past], project: Project) -> float:
    """A training is on all labels so far: those of the last one, and a batch more."""
    return past[0].units["training"] + project.batch_size


def _past(session: Session, project: Project) -> list[Past]:
    """The last rounds that trained, the newest first."""
    rounds = session.scalars(
        select(Round)
        .where(
            Round.project_id == project.id,
            Round.state == "done",
            Round.policy_out_id.is_distinct_from(Round.policy_in_id),
        )
        .order_by(Round.number.desc())
        .limit(LAST)
    ).all()
    ids = [one.id for one in rounds]
    stood, worked = _stood(session, ids), _worked(session, ids)
    said = _said(session, ids)
    return [
        Past(
            number=one.number,
            seconds=stood.get(one.id, {}),
            work=worked.get(one.id, {}),
            units={
                "generating": float(one.metrics.get("pool") or 0),
                "labelling": said.get(one.id, (0.0, None))[0],
                "training": float(one.metrics.get("trained_pairs") or one.answered),
                "evaluating": float(one.metrics.get("eval_prompts") or 0),
            },
            answer_seconds=said.get(one.id, (0.0, None))[1],
        )
        for one in rounds
    ]


def _stood(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, float]]:
    """Seconds that each round stood in each stage, from one entry of the log to the next."""
    rows = session.execute(
        select(Event.round_id, Event.kind, Event.created_at)
        .where(Event.round_id.in_(ids), Event.kind.like("round.%"))
        .order_by(Event.round_id, Event.id)
    ).all()
    found: dict[uuid.UUID, dict[str, float]] = {}
    for (round_id, kind, begun), (next_id, _, ended) in pairwise(rows):
        stage = kind.removeprefix("round.")
        if round_id is not None and round_id == next_id and stage in STAGES:
            of_round = found.setdefault(round_id, {})
            seconds = (ended - begun).total_seconds()
            of_round[stage] = of_round.get(stage, 0.0) + seconds
    return found


def _worked(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, float]]:
    """Seconds of each round's work by stage, as the workers' clocks told, without loading."""
    rows = session.execute(
        select(Run.round_id, Run.kind, Run.output["clock"]["stages"]).where(
            Run.round_id.in_(ids), Run.state == "done"
        )
    )
    stage_of = {kind: stage for stage, kind in KIND_OF.items()}
    found: dict[uuid.UUID, dict[str, float]] = {}
    for round_id, kind, stages in rows:
        if stages and round_id is not None:
            seconds = sum(
                float(spent["seconds"]) for name, spent in stages.items() if name != "loading"
            )
            of_round = found.setdefault(round_id, {})
            of_round[stage_of[kind]] = of_round.get(stage_of[kind], 0.0) + seconds
    return found


def _said(
    session: Session, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, tuple[float, float | None]]:
    """(answers, median seconds of one) of each round."""
    pace = func.percentile_cont(0.5).within_group(Preference.seconds)
    rows = session.execute(
        select(Preference.round_id, func.count(), pace)
        .where(
            Preference.round_id.in_(ids),
            Preference.deleted_at.is_(None),
            Preference.choice != "skip",
            Preference.is_label,
        )
        .group_by(Preference.round_id)
    )
    return {id: (float(count), seconds) for id, count, seconds in rows if id is not None}
