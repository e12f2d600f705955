"""The child's part of an oracle that needs a model: judge a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from activedpo.types import Prompt
from app.settings import get_settings
from worker.loaded import Models
from worker.report import Report
from worker.work import ModelAt, Wire

if TYPE_CHECKING:
    from activedpo.oracles.reward_model import RewardModel


@dataclass(frozen=True)
class Triple:
    """A pair as its claim shows it."""

    prompt: Prompt
    left: str
    right: str


@dataclass(frozen=True)
class JudgeWork:
    """What is judged, by which model and how. ``options`` are the judge's own settings."""

    kind: str
    model: ModelAt
    options: dict[str, Any]
    pairs: list[Triple]


@dataclass(frozen=True)
class JudgeOutcome:
    """p(left is better) of every pair; None abstains."""

    chances: list[float | None] = field(default_factory=list)


WORK, OUTCOME = Wire(JudgeWork), Wire(JudgeOutcome)
_reward: dict[str, RewardModel] = {}


def compute(data: bytes, held: Models, report: Report) -> bytes:
    """In the child: judge a batch."""
    work = WORK.unpack(data)
    report("judging", 0, len(work.pairs))
    triples = [(pair.prompt, pair.left, pair.right) for pair in work.pairs]
    if work.kind == "reward_model":
        return OUTCOME.pack(JudgeOutcome(_reward_model(work, held).judge(triples)))
    from activedpo.oracles.local_judge import LocalJudge

    _reward.clear()
    judge = LocalJudge(held.policy(work.model), **work.options)
    return OUTCOME.pack(JudgeOutcome(judge.judge(triples)))


def _reward_model(work: JudgeWork, held: Models) -> RewardModel:
    from activedpo.oracles.reward_model import RewardModel

    if work.model.base not in _reward:
        held.forget()
        _reward.clear()
        settings = get_settings()
        _reward[work.model.base] = RewardModel(
            work.model.base, device=settings.device, dtype=settings.dtype
        )
    judge = _reward[work.model.base]
    judge.batch_size = int(work.options["batch_size"])
    judge.scale = float(work.options["scale"])
    return judge
