"""What a simulated round asks about: rank the pool, buy labels down the ranking."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from activedpo import acquisition
from activedpo.acquisition.combine import (
    confidence_gate,
    keep_distinct,
    keep_fluent,
    surprise,
)
from activedpo.loading import Policy
from activedpo.odds import log_odds
from activedpo.scoring import score_pairs
from activedpo.simulation.bench import Bench, derive
from activedpo.simulation.meter import Meter
from activedpo.simulation.pools import GeneratedPool, RecordedPool, RoundPool
from activedpo.simulation.store import Label
from activedpo.types import Pair, Scores


@dataclass(frozen=True, slots=True)
class Turn:
    """One round of one arm: where it starts from and what was bought before it."""

    bench: Bench
    arm: str
    seed: int
    number: int
    policy: Policy
    past: list[Label]
    meter: Meter

    @property
    def wanted(self) -> int:
        """New labels of this round."""
        return self.bench.config.steps[self.number - 1]

    @property
    def strategy(self) -> acquisition.Strategy:
        """The first batch is the cold start's for all arms: nothing is known before it."""
        cold = acquisition.COLD_STARTS[self.bench.config.cold_start]
        return acquisition.strategy(self.arm if self.number > 1 else cold)

    def draw(self, purpose: int) -> int:
        """A seed that all arms share."""
        return derive(self.seed, self.number, purpose)

    def score(self, pairs: list[Pair], hidden: bool = False) -> Scores:
        """Under this round's policy and π_0."""
        reference = self.bench.reference(self.policy)
        return score_pairs(self.policy, pairs, reference, self.bench.config.beta, hidden=hidden)


@dataclass(slots=True)
class Chosen:
    """A labelled batch, and what is known of the pool it came from.

    `pseudo`: labels of the policy's own, where it is sure; they train in this round only.
    """

    labels: list[Label] = field(default_factory=list)
    pseudo: list[Label] = field(default_factory=list)
    undecided: int = 0
    figures: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Ranking:
    order: np.ndarray
    pairs: list[Pair]
    scores: Scores | None


def choose(turn: Turn) -> Chosen:
    """Ranks the round's pool and buys labels down the ranking until the batch is full."""
    pool = _pool(turn)
    ranking = _ranked(turn, pool)
    chosen, asked = _bought(turn, pool, ranking.order)
    _add_margins(turn, chosen)
    chosen.figures |= {"pool": float(len(ranking.order)), "pool_margin": None}
    if ranking.scores is not None:
        chosen.figures["pool_margin"] = float(np.abs(ranking.scores.margin).mean())
    if turn.bench.config.gate is not None and turn.number > 1 and ranking.scores is not None:
        _pseudo_label(turn, pool, ranking.pairs, ranking.scores, asked, chosen)
    return chosen


def _pool(turn: Turn) -> RoundPool:
    bench = turn.bench
    if bench.labels_file:
        bought = {str(label.pair.id) for label in turn.past}
        return RecordedPool(bench.recorded.train, bench, turn.seed, turn.number, bought)
    return GeneratedPool(bench, turn.policy, turn.seed, turn.number, turn.meter)


def _ranked(turn: Turn, pool: RoundPool) -> _Ranking:
    config, wanted, n = turn.bench.config, turn.strategy, len(pool.prompts)
    scored = wanted.needs_scores or config.prune or config.gate or wanted.features == "hidden"
    looks = scored or wanted.features or config.near_duplicates
    pairs = pool.pairs(range(n)) if looks else []
    scores = _scored(turn, pairs, hidden=wanted.features == "hidden") if scored else None
    features, bought = _features(turn, pairs, scores) if wanted.features else (None, None)
    order = acquisition.rank(
        wanted.name,
        scores,
        turn.wanted,
        turn.draw(1),
        _entropy(turn, pool) if wanted.needs_entropy else None,
        shortlist=config.shortlist,
        size=n,
        features=features,
        past=bought,
        keep=_keep(turn.bench, pairs, scores),
        ids=[str(pair.id) for pair in pairs] or None,
    )
    return _Ranking(order, pairs, scores)


def _scored(turn: Turn, pairs: list[Pair], hidden: bool) -> Scores:
    models = 1 if turn.policy is turn.bench.base else 2
    with turn.meter.stage("score", passes=2 * models * len(pairs)):
        return turn.score(pairs, hidden)


def _features(
    turn: Turn, pairs: list[Pair], scores: Scores | None
) -> tuple[np.ndarray, acquisition.Past | None]:
    """Features of the pool and of what was bought, both as the policy sees them now."""
    from activedpo.features import pair_features

    kind, past = turn.strategy.features, turn.past
    if kind == "answers":
        return answers(turn.bench, pairs), None
    known = scores.hidden if scores is not None else None
    with turn.meter.stage("features", passes=2 * (len(past) + len(pairs) * (known is None))):
        ours = pair_features(turn.policy, pairs, kind, hidden=known)
        if not past:
            return ours, None
        theirs = pair_features(turn.policy, [label.pair for label in past], kind)
    return ours, acquisition.Past(theirs, np.array([label.p for label in past]))


def answers(bench: Bench, pairs: list[Pair]) -> np.ndarray:
    """What oracle and judge will say of each pair, for ceilings: no one else knows it.

    Returns:
        (n, 2, 2): [:, 0] the log-odds that a is better, by oracle and by judge (0: no difference),
        [:, 1] zeros, so that both differences are those of a pair.
    """
    told = np.zeros((len(pairs), 2, 2))
    for column, asked in enumerate((bench.oracle, bench.judge)):
        for row, pair in enumerate(pairs):
            p = asked(pair.prompt, pair.completion_a, pair.completion_b)
            told[row, 0, column] = 0.0 if p is None else log_odds(p)
    return told


def _entropy(turn: Turn, pool: RoundPool) -> np.ndarray:
    from activedpo.entropy import prompt_entropy

    config = turn.bench.config
    with turn.meter.stage("entropy", passes=config.entropy_samples * len(pool.prompts)):
        return prompt_entropy(
            turn.policy,
            pool.prompts,
            n=config.entropy_samples,
            per_token=config.entropy_per_token,
            seed=turn.draw(2),
            max_new_tokens=config.max_new_tokens,
        )


def _keep(bench: Bench, pairs: list[Pair], scores: Scores | None) -> np.ndarray | None:
    config = bench.config
    if config.prune is None and config.near_duplicates is None:
        return None
    keep = np.ones(len(pairs), dtype=bool)
    if config.prune is not None and scores is not None:
        keep &= keep_fluent(surprise(scores), *config.prune)
    if config.near_duplicates is not None:
        keep &= keep_distinct(pairs, config.near_duplicates)
    return keep


def _bought(turn: Turn, pool: RoundPool, order: np.ndarray) -> tuple[Chosen, set[int]]:
    """(labels: the audit share first, by chance from the whole pool; the indices asked about)."""
    audits = math.ceil(turn.bench.config.audit_fraction * turn.wanted)
    by_chance = np.random.default_rng(turn.draw(3)).permutation(len(order))
    chosen, asked = Chosen(), set[int]()
    _buy(turn, pool, by_chance, audits, chosen, asked, audit=True)
    _buy(turn, pool, order, turn.wanted, chosen, asked)
    return chosen, asked


def _buy(
    turn: Turn,
    pool: RoundPool,
    order: np.ndarray,
    wanted: int,
    chosen: Chosen,
    asked: set[int],
    audit: bool = False,
) -> None:
    """Down the order until there are `wanted` labels, or nothing is left to ask."""
    waiting = [int(i) for i in order if int(i) not in asked]
    while waiting and len(chosen.labels) < wanted:
        count = wanted - len(chosen.labels)
        now, waiting = waiting[:count], waiting[count:]
        for index, pair in zip(now, pool.pairs(now), strict=True):
            asked.add(index)
            p = pool.label(index)
            if p is None:
                chosen.undecided += 1
            else:
                chosen.labels.append(Label(pair, p, turn.number, audit))


def _add_margins(turn: Turn, chosen: Chosen) -> None:
    """The policy's guess on each label before it trains on it. Not booked as a cost: every arm
    is measured so, also one that chose without.
    """
    if not chosen.labels:
        return
    scores = turn.score([label.pair for label in chosen.labels])
    chosen.labels = [
        replace(label, margin=float(margin))
        for label, margin in zip(chosen.labels, scores.margin, strict=True)
    ]
    chosen.figures["tokens_chosen"] = float((scores.tokens_a + scores.tokens_b).mean() / 2)


def _pseudo_label(
    turn: Turn,
    pool: RoundPool,
    pairs: list[Pair],
    scores: Scores,
    asked: set[int],
    chosen: Chosen,
) -> None:
    """The policy labels what it is sure about; the oracle only tells how often that is wrong."""
    indices, p = confidence_gate(scores.margin, float(turn.bench.config.gate or 1))
    sure = [(int(i), guess) for i, guess in zip(indices, p, strict=True) if int(i) not in asked]
    chosen.pseudo = [Label(pairs[i], float(guess), turn.number) for i, guess in sure]
    truth = [(pool.label(i), guess) for i, guess in sure]
    wrong = [float(label != guess) for label, guess in truth if label is not None]
    chosen.figures["pseudo"] = float(len(sure))
    chosen.figures["pseudo_wrong_share"] = float(np.mean(wrong)) if wrong else None
