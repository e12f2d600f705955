"""Value types of the library. No torch here: the web process reads them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from activedpo.loading import Policy

Message = Mapping[str, str]
"""One chat message: `{"role": "system" | "user" | "assistant", "content": str}`."""

Prompt = str | Sequence[Message]
"""Plain text, or chat messages that end where the model is to answer."""

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion of a prompt.

    Args:
        text: the decoded completion, special tokens left out.
        tokens: its token ids as sampled, without the end token.
        finished: True where the model ended it, False where the length limit cut it.
        logp: Σ log π(y_t | x, y_<t) over tokens and end token, where sampling gave it
            for nothing (T = 1, no top-k, no top-p, canonical end token); else None.
    """

    text: str
    tokens: Tokens
    finished: bool
    logp: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of one prompt.

    Args:
        prompt: text, or chat messages.
        completion_a, completion_b: the texts to compare.
        finished_a, finished_b: False where a length limit cut the completion; it then has no
            end token, neither in scoring nor in training.
        tokens_a, tokens_b: token ids as generated, without the end token. Given, they are used
            as they are: nothing is tokenised a second time.
        prompt_tokens: token ids of the whole prompt as generation saw it (template and special
            tokens included).
        logp_a, logp_b: log π(y | x) of the policy that wrote the pair, from sampling (see
            `Completion.logp`).
        id: a name for messages about this pair (a database key, say).
    """

    prompt: Prompt
    completion_a: str
    completion_b: str
    finished_a: bool = True
    finished_b: bool = True
    tokens_a: Tokens | None = None
    tokens_b: Tokens | None = None
    prompt_tokens: Tokens | None = None
    logp_a: float | None = None
    logp_b: float | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        for name in ("tokens_a", "tokens_b", "prompt_tokens"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, tuple):
                object.__setattr__(self, name, tuple(int(token) for token in value))

    @property
    def equal(self) -> bool:
        """True where there is nothing to choose: both completions are the same.

        Such a pair is kept and scored, and should never be shown to a person.
        """
        return self.completion_a == self.completion_b and self.finished_a == self.finished_b


@dataclass(frozen=True, slots=True)
class Preference:
    """One label to train on.

    Args:
        pair: what was compared.
        p: probability that `completion_a` is the better one, in [0, 1].
        weight: factor of this pair's loss, > 0.
    """

    pair: Pair
    p: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"Preference.p is a probability in [0, 1], not {self.p!r}")
        if not (self.weight > 0.0 and np.isfinite(self.weight)):
            raise ValueError(f"Preference.weight must be positive and finite, not {self.weight!r}")


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities and margins of n pairs; every array has shape (n,).

    `logp_a` is log π_θ(a | x), `ref_logp_a` is log π_0(a | x), both summed over completion tokens
    with the end token, in nats. `margin` = β[(logp_a − ref_logp_a) − (logp_b − ref_logp_b)], the
    difference of the implicit rewards (arXiv 2305.18290, eq. 5). `tokens_a` counts the tokens of
    the sum. `equal` flags pairs of identical completions. `hidden`, on request: float32 (n, 2, d),
    mean of the last hidden state over the tokens of each completion.
    """

    logp_a: np.ndarray
    logp_b: np.ndarray
    ref_logp_a: np.ndarray
    ref_logp_b: np.ndarray
    margin: np.ndarray
    tokens_a: np.ndarray
    tokens_b: np.ndarray
    equal: np.ndarray
    hidden: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.margin)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A pair that could not be trained on, and why."""

    index: int
    id: str | None
    reason: str


@dataclass(slots=True)
class TrainResult:
    """Outcome of `train_dpo`.

    Args:
        policy: the trained policy, ready to score, sample or train on.
        metrics: `steps` (one dict a step: step, loss, accuracy, margin, reward_chosen,
            reward_rejected, grad_norm, learning_rate, seconds, tokens), `loss`, `accuracy` and
            `margin` of the last epoch (the two towards the label; None where all are ties),
            `dropped` (count), `pairs`, `seconds`, `trainer`, `stopped` (None, or why training
            ended early).
        dropped: the pairs that were left out, each with its reason.
        out: folder of the saved weights, or None.
    """

    policy: Policy
    metrics: dict[str, Any]
    dropped: list[Dropped] = field(default_factory=list)
    out: str | None = None
