"""What passes between the parent, which knows the database, and the child, which knows torch.

Plain data, JSON on the way: the child could run anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from activedpo.types import Pair, Prompt

T = TypeVar("T")


class Wire(Generic[T]):
    """JSON of one dataclass and back, checked on arrival."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)

    def pack(self, value: T) -> bytes:
        """To JSON; NaN and infinity become null."""
        return self._adapter.dump_json(value, warnings="none")

    def unpack(self, data: bytes) -> T:
        """From JSON."""
        return self._adapter.validate_json(data)


@dataclass(frozen=True)
class ModelAt:
    """Where the weights of a policy are.

    Attributes:
        base: folder or hub name of the base model.
        name: what the base is called in messages and in saved adapters: never a path.
        kind: ``base``, ``adapter`` or ``full``, as of the policy.
        path: folder in the artefact store of an adapter or of full weights.
        files: size and checksum of every file in it.
    """

    base: str
    name: str
    kind: str = "base"
    path: str | None = None
    files: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What all jobs of a project share: its models and how its prompts are put to them."""

    policy: ModelAt
    base: ModelAt
    system_prompt: str | None
    chat: str
    beta: float
    seed: int


@dataclass(frozen=True)
class Asked:
    """A prompt as it was imported, with its id."""

    id: str
    prompt: Prompt


@dataclass(frozen=True)
class LeftOut:
    """What a job could not use, by id, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class GenerateWork:
    """A shard: ``prompts`` to answer twice each, or imported ``pairs`` to score as they are.

    ``features``: the kind that the acquisition looks at, or "". ``labelled``: pairs of earlier
    batches, whose features the first shard measures again, as the policy sees them now.
    """

    setting: Setting
    prompts: list[Asked]
    pairs: list[Pair]
    generation: dict[str, Any]
    entropy_samples: int
    features: str = ""
    labelled: list[Pair] = field(default_factory=list)
    engine: ServerAt | None = None


@dataclass(frozen=True)
class ServerAt:
    """A server that samples instead of the child; see `app.projects.schema.Server`.

    ``adapter``: the name that the round's policy has there; None where it is not loaded there.
    """

    base_url: str
    model: str
    api_key: str | None
    adapter: str | None
    others: str | None
    adapters_at: str | None
    concurrency: int
    timeout: float
    public_only: bool


@dataclass(frozen=True)
class Sampled:
    """What a server's samples were like.

    ``tokens`` have a log-prob of the server's and one of ours: ``off`` is the sum over completions
    of their difference without its sign, in nats, ``furthest`` the largest a token.
    ``retokenised``: completions whose token ids had to be made from their text.
    """

    samples: int = 0
    retokenised: int = 0
    tokens: int = 0
    off: float = 0.0
    furthest: float = 0.0


@dataclass(frozen=True)
class Scored:
    """A pair with its numbers; ``key`` is its prompt's id, or its own where it was imported.

    ``features``, where the acquisition looks at them: (2, d) float32 in base 64.
    """

    key: str
    pair: Pair
    equal: bool
    logp_a: float
    logp_b: float
    ref_logp_a: float
    ref_logp_b: float
    margin: float
    entropy: float | None
    perplexity: float | None = None
    features: str | None = None


@dataclass(frozen=True)
class GenerateOutcome:
    """The shard, scored, and what did not fit; features of the labelled pairs by id."""

    scored: list[Scored]
    left_out: list[LeftOut]
    labelled: dict[str, str] = field(default_factory=dict)
    sampled: Sampled | None = None


@dataclass(frozen=True)
class Labelled:
    """A pair to train on: p is the probability that completion a is the better one.

    ``margin`` is the one at selection, of the policy that the round starts from, where known;
    ``ref_logps`` the stored log-probabilities under π_0; ``pseudo``: p is its own opinion.
    """

    pair: Pair
    p: float
    weight: float
    new: bool
    audit: bool
    margin: float | None
    ref_logps: tuple[float, float] | None
    pseudo: bool = False


@dataclass(frozen=True)
class TrainWork:
    """One training: the labels, how, and where it may write.

    Attributes:
        setting: its ``policy`` is the one that the round starts from.
        out, checkpoints: folders of this attempt on this machine.
        resume_from: checkpoints of an earlier attempt.
        path: this attempt's folder in the artefact store.
        left: path and files of a checkpoint that a stopped attempt left in the artefact store.
    """

    setting: Setting
    labelled: list[Labelled]
    training: dict[str, Any]
    out: str
    checkpoints: str
    resume_from: str | None
    path: str
    left: dict[str, Any] | None = None


@dataclass(frozen=True)
class TrainOutcome:
    """Kind of the trained policy, its files once they are stored, the figures of its training."""

    kind: str
    metrics: dict[str, Any]
    files: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluateWork:
    """What the new policy is asked, and who judges; ``held_out`` where these are eval prompts."""

    setting: Setting
    prompts: list[Asked]
    held_out: bool
    generation: dict[str, Any]
    judge: dict[str, Any] | None


@dataclass(frozen=True)
class EvaluateOutcome:
    """Figures of the evaluation, ready for the round's metrics."""

    metrics: dict[str, Any]


@dataclass(frozen=True)
class CompareWork:
    """A shard of a blind evaluation: the sides that are policies, by a and b, and their prompts."""

    sides: dict[str, Setting]
    prompts: list[Asked]
    generation: dict[str, Any]


@dataclass(frozen=True)
class Said:
    """A completion, and whether it ended by itself."""

    text: str
    finished: bool

    @property
    def storable(self) -> str:
        """The text without what Postgres cannot keep."""
        return self.text.replace("\x00", "\ufffd")


@dataclass(frozen=True)
class CompareOutcome:
    """What each side said, by prompt; what did not fit its context is not in it."""

    said: dict[str, dict[str, Said]]
