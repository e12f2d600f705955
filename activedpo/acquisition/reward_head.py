"""A linear reward on features, learnt from the labels bought so far: mean, spread and draws.

Bradley-Terry: p(a better) = σ(wᵀ(φ(a) − φ(b))), w ~ N(0, I / λ); Laplace's approximation around
the most probable w gives N(ŵ, H⁻¹), H = λI + Σ σ(1 − σ) φφᵀ (MacKay 1992).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activedpo.acquisition.base import sigmoid

PRIOR = 1.0
"""λ; features are on a scale where a difference has length 1 on average."""

_STEPS = 30


@dataclass(frozen=True, slots=True)
class Head:
    """w ~ N(mean (d,), covariance (d, d))."""

    mean: np.ndarray
    covariance: np.ndarray

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count, d) samples of w."""
        root = np.linalg.cholesky(self.covariance + 1e-10 * np.eye(len(self.mean)))
        drawn: np.ndarray = self.mean + rng.standard_normal((count, len(self.mean))) @ root.T
        return drawn


def fit_head(x: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None) -> Head:
    """Fits w by Newton's method.

    Args:
        x: (k, d) differences φ(a) − φ(b).
        p: (k,) probability that a is the better one.
        weights: (k,) of the labels; default 1 (a bootstrap gives counts).
    """
    counts = np.ones(len(p)) if weights is None else weights
    w = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        guess = sigmoid(x @ w)
        gradient = x.T @ (counts * (guess - p)) + PRIOR * w
        step = np.linalg.solve(_curvature(x, guess, counts), gradient)
        # The loss is convex but its curvature fades far out: a bounded step cannot run away.
        step *= min(1.0, 5.0 / (np.linalg.norm(step) + 1e-12))
        w = w - step
        if np.abs(step).max() < 1e-8:
            break
    return Head(w, np.linalg.inv(_curvature(x, sigmoid(x @ w), counts)))


def _curvature(x: np.ndarray, guess: np.ndarray, counts: np.ndarray) -> np.ndarray:
    certainty = counts * guess * (1 - guess)
    total: np.ndarray = (x * certainty[:, None]).T @ x + PRIOR * np.eye(x.shape[1])
    return total


def bootstrap_heads(
    x: np.ndarray, p: np.ndarray, rng: np.random.Generator, count: int
) -> np.ndarray:
    """(count, d) heads, each fitted on a resample of the labels from a prior draw of its own.

    Anchored ensembling (Osband et al. 2018): w* + fit of what w* leaves unexplained, so that the
    members disagree also where there is no label at all.
    """
    heads = []
    for _ in range(count):
        weights = np.bincount(rng.integers(len(p), size=len(p)), minlength=len(p)).astype(float)
        anchor = rng.standard_normal(x.shape[1]) / np.sqrt(PRIOR)
        heads.append(_anchored(x, p, weights, anchor))
    return np.stack(heads)


def _anchored(x: np.ndarray, p: np.ndarray, counts: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    w = anchor.copy()
    for _ in range(_STEPS):
        guess = sigmoid(x @ w)
        gradient = x.T @ (counts * (guess - p)) + PRIOR * (w - anchor)
        step = np.linalg.solve(_curvature(x, guess, counts), gradient)
        step *= min(1.0, 5.0 / (np.linalg.norm(step) + 1e-12))
        w = w - step
        if np.abs(step).max() < 1e-6:
            break
    return w


def bald(probabilities: np.ndarray) -> np.ndarray:
    """Mutual information of label and head, (n,) nats: H(mean p) − mean H(p) (arXiv 1112.5745).

    Args:
        probabilities: (members, n).
    """
    mean = probabilities.mean(0)
    information: np.ndarray = _binary_entropy(mean) - _binary_entropy(probabilities).mean(0)
    return information


def _binary_entropy(p: np.ndarray) -> np.ndarray:
    q = np.clip(p, 1e-12, 1 - 1e-12)
    entropy: np.ndarray = -(q * np.log(q) + (1 - q) * np.log(1 - q))
    return entropy
