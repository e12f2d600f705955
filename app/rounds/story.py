"""A round told to people: what it does, how far it is, how it went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app import charts, formats
from app.language import _, ngettext, pgettext, stored
from app.rounds.models import Round, Run

STAGES = ("generating", "labelling", "training", "evaluating", "done")
_NAMES = (
    pgettext("stage", "Generate"),
    pgettext("stage", "Label"),
    pgettext("stage", "Train"),
    pgettext("stage", "Evaluate"),
    pgettext("stage", "Done"),
)
STAGE_WORDS = {
    "loading": _("Loading the model"),
    "generating": _("Writing pairs"),
    "generate": _("Writing pairs"),
    "entropy": _("Measuring entropy"),
    "scoring": _("Scoring pairs"),
    "training": _("Training"),
    "train": _("Training"),
    "evaluating": _("Evaluating"),
    "evaluate": _("Evaluating"),
    "storing": _("Storing"),
    "saving": _("Saving the policy"),
}
# States of a round, as errors name them
STATES = (
    *(_("queued"), _("generating"), _("labelling"), _("training"), _("evaluating")),
    *(_("done"), _("failed"), _("cancelled")),
)
# Why there is no win-rate, as rounds store it
UNJUDGED = (
    _("nothing was trained"),
    _("no prompt fits the context"),
    _("the round has not been evaluated yet"),
    _("the project has no judge"),
    _("the project has no eval prompts"),
)


@dataclass(frozen=True)
class Stage:
    """One of the five stages; ``look`` is past, now, stopped or ahead."""

    name: str
    what: str
    look: str


@dataclass(frozen=True)
class Working:
    """What a worker does now: ``left`` in seconds, where it can be told.

    ``lacks``: the capability that no worker has which is there, while it is waited for.
    """

    what: str
    done: int
    total: int
    left: float | None
    rate: str | None
    lacks: str | None = None


@dataclass(frozen=True)
class Pace:
    """How fast a stage goes: what was done when it was first looked at, and now.

    Counted from the first look and not from the start of the run, which includes the loading of
    the model and the stages before. ``now`` and ``since`` are in seconds of one clock.
    """

    stage: str
    first: int
    since: float
    done: int
    now: float

    @classmethod
    def after(cls, before: Pace | None, round: Round, now: float) -> Pace:
        """The pace with one more look at the round."""
        stage, done = round.stage or "", round.progress_done
        if before is None or before.stage != stage or done < before.done:
            return cls(stage, done, now, done, now)
        return cls(stage, before.first, before.since, done, now)

    @property
    def per_second(self) -> float | None:
        """Units a second; None while there is too little to tell."""
        seconds, made = self.now - self.since, self.done - self.first
        return made / seconds if seconds >= 3 and made >= 2 else None


@dataclass(frozen=True)
class Outcome:
    """One figure of how a round went."""

    name: str
    value: str
    more: str = ""


def headline(round: Round) -> str:
    """The heading of a round's page."""
    number = str(round.number)
    if round.state == "labelling" and round.answered:
        return _("Round %(number)s is being labelled", number=number)
    return {
        "queued": _("Round %(number)s waits for a worker", number=number),
        "generating": _("Round %(number)s is generating pairs", number=number),
        "labelling": _("Round %(number)s is ready to label", number=number),
        "training": _("Round %(number)s is training", number=number),
        "evaluating": _("Round %(number)s is being evaluated", number=number),
        "done": _("Round %(number)s is done", number=number),
        "failed": _("Round %(number)s has failed", number=number),
        "cancelled": _("Round %(number)s was cancelled", number=number),
    }[round.state]


def stages(round: Round) -> list[Stage]:
    """The five stages and where the round is among them."""
    at = _position(round)
    stopped = round.state in ("failed", "cancelled")
    looks = ["past" if i < at else "ahead" for i in range(len(STAGES))]
    if at < len(STAGES):
        looks[at] = "stopped" if stopped else "past" if round.state == "done" else "now"
    return [
        Stage(name, what, look)
        for name, what, look in zip(_NAMES, _details(round), looks, strict=True)
    ]


def _position(round: Round) -> int:
    if round.state in STAGES:
        return STAGES.index(round.state)
    if round.failed_stage in STAGES:
        return STAGES.index(round.failed_stage)
    if round.state == "cancelled":
        return 1 if round.answered else 0
    return 0


def _details(round: Round) -> tuple[str, ...]:
    pool = round.metrics.get("pool")
    chosen = _("%(n)s chosen of %(pool)s", n=round.needed, pool=pool) if pool else ""
    written = {"queued": _("soon"), "generating": _share(round)}.get(round.state, chosen)
    labelled: str = _("%(done)s of %(total)s", done=round.answered, total=round.needed)
    labelled = "" if round.state in ("queued", "generating") else labelled
    trained = _share(round) if round.state == "training" else ""
    if round.metrics.get("trained_pairs") is not None:
        trained = ngettext("on %(num)s pair", "on %(num)s pairs", round.metrics["trained_pairs"])
    evaluated = _share(round) if round.state == "evaluating" else ""
    if round.state == "done" and round.metrics.get("win_rate") is not None:
        evaluated = _("win-rate %(share)s", share=formats.percent(round.metrics["win_rate"]))
    return (written, labelled, trained, evaluated, "")


def _share(round: Round) -> str:
    if not round.progress_total:
        return _("starting")
    return formats.percent(min(1.0, round.progress_done / round.progress_total))


def working(
    round: Round, runs: Sequence[Run], pace: Pace | None = None, lacks: str | None = None
) -> Working | None:
    """What the worker does for the round now; None while none is needed."""
    if round.state not in ("queued", "generating", "training", "evaluating"):
        return None
    if all(run.state != "running" for run in runs):
        return Working(_("Waiting for a worker"), 0, 0, None, None, lacks)
    what: str = STAGE_WORDS.get(round.stage or "", _("Working"))
    done, total = round.progress_done, round.progress_total
    speed = pace.per_second if pace else None
    if speed is None or done >= total:
        return Working(what, done, total, None, None)
    rate = _("%(n)s per minute", n=formats.number(60 * speed, 0))
    return Working(what, done, total, (total - done) / speed, rate)


def outcome(metrics: dict[str, Any], *, trained: bool) -> list[Outcome]:
    """The figures that tell how a round went; empty before there are any."""
    rows = [*_guessed(metrics), *_won(metrics, trained)]
    if metrics.get("train_accuracy") is not None:
        accuracy = formats.percent(metrics["train_accuracy"])
        pairs = formats.number(metrics.get("trained_pairs"))
        more = _("on the %(n)s pairs it trained on", n=pairs)
        rows.append(Outcome(_("Reward accuracy"), accuracy, more))
    if metrics.get("pseudo_labels"):
        guessed = formats.number(metrics["pseudo_labels"])
        rows.append(
            Outcome(_("Labelled by itself"), guessed, _("pairs the last policy was sure of"))
        )
    if metrics.get("kl") is not None:
        rows.append(Outcome(_("KL from π₀"), formats.number(metrics["kl"], 4), _("nats per token")))
    rows += _sampled(metrics)
    if metrics.get("not_trained"):
        left_out = formats.number(metrics["not_trained"])
        rows.append(Outcome(_("Left out"), left_out, _("pairs that could not be trained on")))
    return rows


def _sampled(metrics: dict[str, Any]) -> list[Outcome]:
    """How a server's log-probs of its samples agree with ours, where a server sampled."""
    if not metrics.get("engine_samples"):
        return []
    off, texts = metrics.get("engine_logp_off"), metrics.get("engine_retokenised")
    value = formats.number(off, 4) if off is not None else "–"
    if texts:
        count = formats.number(texts)
        more = _("%(n)s completions came as texts and were tokenised anew", n=count)
    elif off is None:
        more = _("it gave none to compare")
    else:
        more = _("nats a token from the scorer’s")
    return [Outcome(_("Server’s log-probs"), value, more)]


def _guessed(metrics: dict[str, Any]) -> list[Outcome]:
    accuracy = metrics.get("accuracy_before")
    if accuracy is None:
        return []
    known = formats.number(metrics.get("guessed"))
    more = _("of %(n)s new labels, before training on them", n=known)
    if metrics.get("accuracy_before_audit") is not None:
        audit = formats.percent(metrics["accuracy_before_audit"])
        more = _(
            "of %(n)s new labels, before training on them; audit: %(audit)s", n=known, audit=audit
        )
    return [Outcome(_("Guessed right"), formats.percent(accuracy), more)]


def _won(metrics: dict[str, Any], trained: bool) -> list[Outcome]:
    name = _("Win-rate against π₀")
    if metrics.get("win_rate") is not None:
        low, high = metrics.get("win_rate_low"), metrics.get("win_rate_high")
        known = low is not None and high is not None
        ends = {"low": formats.percent(low), "high": formats.percent(high)}
        more = _("%(low)s to %(high)s (95%% interval)", **ends) if known else ""
        return [Outcome(name, formats.percent(metrics["win_rate"]), more)]
    if trained and metrics.get("win_rate_reason"):
        reason = str(metrics["win_rate_reason"])
        return [Outcome(name, "–", stored(reason))]
    return []


def curves(metrics: dict[str, Any]) -> list[charts.Plot]:
    """Loss and reward accuracy by training step."""
    steps = metrics.get("steps") or []

    def points(key: str) -> list[tuple[float, float]]:
        return [(s["step"], s[key]) for s in steps if s.get(key) is not None]

    drawn = [
        charts.lines(_("Loss"), _("step"), _("loss"), [charts.Series(_("loss"), points("loss"))]),
        charts.lines(
            _("Reward accuracy"),
            _("step"),
            _("share"),
            [charts.Series(_("accuracy"), points("accuracy"))],
            y_range=(0.0, 1.0),
        ),
    ]
    return [plot for plot in drawn if plot is not None]


def learning_curve(rounds: Sequence[Round]) -> charts.Plot | None:
    """Accuracy on labels before training on them, by the labels seen; None before two rounds.

    The band is Wilson's 95 % interval of each round's share.
    """
    seen, points, bounds = 0, [], []
    for round in sorted(rounds, key=lambda r: r.number):
        accuracy, count = round.metrics.get("accuracy_before"), round.metrics.get("guessed")
        if accuracy is not None and count:
            points.append((float(seen), float(accuracy)))
            bounds.append(_wilson(float(accuracy), int(count)))
        seen += round.answered
    if len(points) < 2:
        return None
    low, high = zip(*bounds, strict=True)
    series = [charts.Series(_("guessed right"), points, low=low, high=high)]
    return charts.lines(
        _("Share of new labels guessed right, by labels trained on"),
        _("labels trained on"),
        _("share"),
        series,
        y_range=(0.0, 1.0),
    )


def _wilson(share: float, count: int) -> tuple[float, float]:
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count)
    half *= math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def listed(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Every figure but the curves, as text."""
    shown = []
    for key, value in sorted(metrics.items()):
        if isinstance(value, list):
            continue
        if isinstance(value, float):
            value = f"{value:.6g}"
        elif isinstance(value, dict):
            value = ", ".join(f"{k}: {v}" for k, v in value.items())
        shown.append((key.replace("_", " "), "–" if value is None else str(value)))
    return shown
