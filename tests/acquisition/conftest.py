"""Pools made by hand: scores, entropies and features that every strategy can read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from activedpo import acquisition
from activedpo.acquisition import Past
from activedpo.types import Scores


def scores_of(margin: np.ndarray) -> Scores:
    """Scores with these margins, all else plausible: both completions have a reward of their own,
    but where all margins are 0, as before the first training.
    """
    n = len(margin)
    logp = -np.linspace(5, 9, n)
    reward_b = 0.3 * np.sin(1 + np.arange(n)) * np.any(margin)
    tokens = np.full(n, 6)
    return Scores(
        logp_a=logp,
        logp_b=logp - 1,
        ref_logp_a=logp - margin - reward_b,
        ref_logp_b=logp - 1 - reward_b,
        margin=np.asarray(margin, dtype=np.float64),
        tokens_a=tokens,
        tokens_b=tokens,
        equal=np.zeros(n, dtype=bool),
    )


@dataclass(frozen=True)
class Case:
    """All that `acquire` may be given for a pool of n pairs."""

    scores: Scores
    entropy: np.ndarray
    features: np.ndarray
    past: Past | None

    def acquire(self, name: str, m: int | None, seed: int = 0, **more: object) -> np.ndarray:
        given = {"entropy": self.entropy, "features": self.features, "past": self.past}
        return acquisition.acquire(name, self.scores, m, seed, **(given | more))  # type: ignore[arg-type]

    def of(self, places: np.ndarray) -> Case:
        """The pool of the pairs at these places, each as often as it is named."""
        fields = {f: getattr(self.scores, f) for f in Scores.__slots__}
        moved = {f: None if v is None else v[places] for f, v in fields.items()}
        return replace(
            self,
            scores=Scores(**moved),
            entropy=self.entropy[places],
            features=self.features[places],
        )


def case(n: int = 30, d: int = 5, labels: int = 12, seed: int = 7) -> Case:
    """Random numbers, all different, so that no strategy meets a tie."""
    rng = np.random.default_rng(seed)
    past = Past(rng.standard_normal((labels, 2, d)), rng.integers(2, size=labels).astype(float))
    return Case(
        scores_of(rng.standard_normal(n)),
        rng.random(n) + 1,
        rng.standard_normal((n, 2, d)),
        past if labels else None,
    )


@pytest.fixture
def pool() -> Case:
    return case()
