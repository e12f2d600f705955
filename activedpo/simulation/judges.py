"""Automatic oracles by their spec, and the noise that makes their labels as bad as people's."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from activedpo import oracles
from activedpo.oracles import Oracle
from activedpo.simulation.config import InvalidConfig, Noise, SimulationConfig, Spec
from activedpo.simulation.texts import read_rows
from activedpo.types import Prompt

_WORD = re.compile(r"\w+|[^\w\s]")


def make(key: str, spec: Spec) -> Oracle:
    """The oracle of a spec.

    Raises:
        InvalidConfig: an unknown kind, or settings that the kind does not take; names the key.
    """
    known = kinds()
    if spec.kind not in known:
        raise InvalidConfig(
            f"{key}.kind: unknown {spec.kind!r}; known are {', '.join(sorted(known))}"
        )
    maker, settings = known[spec.kind], spec.settings
    taken = inspect.signature(maker).parameters
    for name in settings:
        if name not in taken:
            raise InvalidConfig(f"{key}.{name}: unknown key for kind {spec.kind!r}")
    try:
        return maker(**settings)
    except InvalidConfig as error:
        raise InvalidConfig(f"{key}.{error}") from error
    except (TypeError, ValueError) as error:
        raise InvalidConfig(f"{key}: {error}") from error


def kinds() -> dict[str, Callable[..., Oracle]]:
    """Makers of oracles by kind: those of `activedpo.oracles` and those of simulations."""
    return {**oracles.ORACLES, "classifier": classifier, "reward": reward}


def check(config: SimulationConfig) -> None:
    """Makes oracle and judge once, so that a wrong one is known before anything is written."""
    for key, spec in (("oracle", config.oracle), ("judge", config.judge)):
        if spec is not None:
            make(key, spec)


def reward(seed: int = 0, scale: float = 4.0, length: float = 0.0) -> Oracle:
    """A hidden reward of the words; p is Bradley-Terry's, σ(r(a) − r(b)).

    r(y) = scale · mean weight of y's words + length · log(1 + words), every word's weight being a
    standard normal number drawn from (seed, word).
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, not {scale}")

    @cache
    def weight(word: str) -> float:
        digest = hashlib.sha256(f"{seed}\0{word}".encode()).digest()
        return float(np.random.default_rng(list(digest[:16])).standard_normal())

    def score(text: str) -> float:
        words = _WORD.findall(text.lower())
        mean = sum(map(weight, words)) / len(words) if words else 0.0
        return scale * mean + length * math.log1p(len(words))

    return _by_score(score)


def classifier(fit: str, features: str = "words", regularisation: float = 1.0) -> Oracle:
    """A sentiment classifier: TF-IDF and logistic regression, fitted on labelled texts.

    Args:
        fit: file of rows with `text` and `positive` (or `label`: 0/1).
        features: "words" (one and two), or "characters" (two to five, inside words).
        regularisation: C of the regression.

    p = σ(z(a) − z(b)), z the log-odds of "positive"; the oracle's `accuracy` is by 5-fold
    cross-validation on its file.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline

    shapes = {"words": ("word", (1, 2)), "characters": ("char_wb", (2, 5))}
    if features not in shapes:
        raise InvalidConfig(f"features: must be 'words' or 'characters', not {features!r}")
    texts, labels = _labelled(fit)
    analyzer, grams = shapes[features]
    model = make_pipeline(
        TfidfVectorizer(analyzer=analyzer, ngram_range=grams, sublinear_tf=True),
        LogisticRegression(C=regularisation, max_iter=1_000),
    )
    folds = min(5, int(np.bincount(labels).min()))
    accuracy = float(cross_val_score(model, texts, labels, cv=folds).mean()) if folds > 1 else None
    model.fit(texts, labels)
    judge = _by_score(lambda text: float(model.decision_function([text])[0]))
    judge.accuracy = accuracy  # type: ignore[attr-defined]
    return judge


def _labelled(fit: str) -> tuple[list[str], np.ndarray]:
    if not Path(fit).is_file():
        raise InvalidConfig(f"fit: no file {fit!r}")
    texts, labels = [], []
    for line, row in read_rows("fit", fit):
        label = row.get("positive", row.get("label"))
        if not isinstance(row.get("text"), str) or label not in (0, 1, True, False):
            raise InvalidConfig(f"fit: line {line} needs `text` and `positive` (true or false)")
        texts.append(row["text"])
        labels.append(int(label))
    if len(set(labels)) < 2:
        raise InvalidConfig(f"fit: {Path(fit).name} needs texts of both kinds")
    return texts, np.array(labels)


def _by_score(score: Callable[[str], float]) -> Oracle:
    """p = σ(score(a) − score(b)); abstains where they are equal."""
    remembered = cache(score)

    def judge(_: Prompt, completion_a: str, completion_b: str, /) -> float | None:
        gap = remembered(completion_a) - remembered(completion_b)
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, gap)))) if gap else None

    return judge


class Labeller:
    """An oracle with noise: labels that depend on the seed and the pair, never on the order.

    Two strategies that ask about the same pair of texts get the same label.
    """

    def __init__(self, oracle: Oracle, noise: Noise, seed: int) -> None:
        self.oracle, self.noise, self.seed = oracle, noise, seed

    def __call__(self, prompt: Prompt, completion_a: str, completion_b: str) -> float | None:
        """1.0 or 0.0: whether a is the better one; None where the oracle cannot decide."""
        p = self.oracle(prompt, completion_a, completion_b)
        if p is None or p == 0.5:
            return None
        # The order of the two texts must not matter: the draw belongs to the unordered pair.
        first, second = sorted((completion_a, completion_b))
        text = f"{self.seed}\0{prompt!r}\0{first}\0{second}"
        rng = np.random.default_rng(list(hashlib.sha256(text.encode()).digest()[:16]))
        shown_first, draw, flip = rng.random(3)
        swapped = first != completion_a
        logit = self._logit(1 - p if swapped else p, first, second, shown_first < 0.5)
        better = self._decide(logit, draw) != (flip < self.noise.flips)
        return float(better != swapped)

    def _logit(self, p: float, first: str, second: str, shown_first: bool) -> float:
        clipped = min(max(p, 1e-6), 1 - 1e-6)
        length = math.log((1 + len(first)) / (1 + len(second)))
        side = 1.0 if shown_first else -1.0
        return (
            math.log(clipped / (1 - clipped))
            + self.noise.position_bias * side
            + self.noise.length_bias * length
        )

    def _decide(self, logit: float, draw: float) -> bool:
        if self.noise.temperature == 0:
            return logit > 0
        scaled = max(-50.0, min(50.0, logit / self.noise.temperature))
        return bool(draw < 1 / (1 + math.exp(-scaled)))


def verdict(judge: Oracle, prompt: Prompt, ours: str, theirs: str) -> tuple[float, bool]:
    """(1, ½ or 0: how ours did against theirs in both orders, whether the judge abstained).

    A judge that sees no difference makes a tie: half a win.
    """
    from activedpo.evaluation import both_orders

    p = both_orders(judge, prompt, ours, theirs)
    if p is None:
        return 0.5, True
    return (1.0 if p > 0.5 else 0.0 if p < 0.5 else 0.5), False


def facts(judge: Oracle) -> dict[str, Any]:
    """What is known of an oracle's own quality, for the report."""
    accuracy = getattr(judge, "accuracy", None)
    return {} if accuracy is None else {"accuracy": accuracy}
