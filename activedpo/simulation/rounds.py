"""One simulated round: choose, label, train, evaluate; the same library calls as the worker."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from activedpo import acquisition
from activedpo.acquisition.combine import keep_distinct, keep_fluent
from activedpo.evaluation import evaluate, reward_accuracy
from activedpo.loading import Policy
from activedpo.scoring import score_pairs
from activedpo.simulation import judges
from activedpo.simulation.bench import EVAL_SEED, Bench, derive
from activedpo.simulation.meter import Meter
from activedpo.simulation.pools import GeneratedPool, RecordedPool, RoundPool
from activedpo.simulation.store import Label
from activedpo.training import train_dpo
from activedpo.types import Pair, Preference, Scores


@dataclass(slots=True)
class Chosen:
    """A labelled batch, and what is known of the pool it came from."""

    labels: list[Label] = field(default_factory=list)
    undecided: int = 0
    figures: dict[str, float | None] = field(default_factory=dict)


def play(bench: Bench, arm: str, seed: int, number: int) -> None:
    """Plays a round and stores it whole; does nothing where it is stored already."""
    if bench.store.is_done(arm, seed, number):
        return
    meter = Meter()
    past = bench.store.labels(arm, seed, number - 1)
    policy = bench.policy(arm, seed, number - 1)
    chosen = choose(bench, arm, seed, number, policy, past, meter)
    labels = past + chosen.labels
    trained, learnt = train(bench, policy, labels, seed, number, meter)
    with meter.stage("evaluate"):
        figures, verdicts = measure(bench, trained or policy)
    row = {
        "labels": bench.config.labels[number - 1],
        "labelled": len(labels),
        "metric": bench.metric,
        **figures,
        **_batch_figures(chosen, past),
        **learnt,
        **meter.figures(),
    }
    with bench.store.whole(bench.store.round_folder(arm, seed, number)) as folder:
        bench.store.write_labels(folder, chosen.labels)
        bench.store.write_json(folder / "row.json", row)
        bench.store.write_json(folder / "verdicts.json", verdicts)
        if trained is not None and number < len(bench.config.labels):
            trained.save(folder / "policy", base_name="base")
    bench.store.drop_policy(arm, seed, number - 1)


def choose(
    bench: Bench, arm: str, seed: int, number: int, policy: Policy, past: list[Label], meter: Meter
) -> Chosen:
    """Ranks the round's pool and buys labels down the ranking until the batch is full."""
    config = bench.config
    # The first batch is the cold start's for all arms: nothing is known before it.
    name = arm if number > 1 else acquisition.COLD_STARTS[config.cold_start]
    pool: RoundPool
    if bench.labels_file:
        bought = {str(label.pair.id) for label in past}
        pool = RecordedPool(bench.recorded.train, bench, seed, number, bought)
    else:
        pool = GeneratedPool(bench, policy, seed, number, meter)
    order, seen = _ranked(bench, name, pool, policy, past, seed, number, meter)
    chosen = _bought(bench, pool, order, seed, number)
    _add_margins(bench, chosen, policy)
    chosen.figures |= seen
    return chosen


def _ranked(
    bench: Bench,
    name: str,
    pool: RoundPool,
    policy: Policy,
    past: list[Label],
    seed: int,
    number: int,
    meter: Meter,
) -> tuple[np.ndarray, dict[str, float | None]]:
    config, n = bench.config, len(pool.prompts)
    drawn = derive(seed, number, 1)
    wanted = acquisition.strategy(name)
    looks = wanted.needs_scores or wanted.features or config.prune or config.near_duplicates
    pairs = pool.pairs(range(n)) if looks else []
    kind = wanted.features
    scores, features, bought = None, None, None
    if wanted.needs_scores or config.prune or kind == "hidden":
        scores = _scored(bench, policy, pairs, meter, hidden=kind == "hidden")
    if kind:
        features, bought = _features(kind, policy, pairs, scores, past, meter)
    order = acquisition.rank(
        name,
        scores,
        config.steps[number - 1],
        drawn,
        _entropy(bench, policy, pool, drawn, meter) if wanted.needs_entropy else None,
        cold_start="random",
        shortlist=config.shortlist,
        size=n,
        features=features,
        past=bought,
        keep=_keep(bench, pairs, scores),
        ids=[str(pair.id) for pair in pairs] or None,
    )
    if scores is None:
        return order, {"pool": float(n), "pool_margin": None}
    return order, {"pool": float(n), "pool_margin": float(np.abs(scores.margin).mean())}


def _scored(
    bench: Bench, policy: Policy, pairs: list[Pair], meter: Meter, hidden: bool = False
) -> Scores:
    models = 1 if policy is bench.base else 2
    with meter.stage("score", passes=2 * models * len(pairs)):
        return score_pairs(policy, pairs, bench.reference(policy), bench.config.beta, hidden=hidden)


def _features(
    kind: str,
    policy: Policy,
    pairs: list[Pair],
    scores: Scores | None,
    past: list[Label],
    meter: Meter,
) -> tuple[np.ndarray, acquisition.Past | None]:
    """Features of the pool and of what was bought, both as the policy sees them now."""
    from activedpo.features import pair_features

    known = scores.hidden if scores is not None else None
    with meter.stage("features", passes=2 * (len(past) + len(pairs) * (known is None))):
        ours = pair_features(policy, pairs, kind, hidden=known)
        if not past:
            return ours, None
        theirs = pair_features(policy, [label.pair for label in past], kind)
    return ours, acquisition.Past(theirs, np.array([label.p for label in past]))


def _entropy(bench: Bench, policy: Policy, pool: RoundPool, seed: int, meter: Meter) -> np.ndarray:
    from activedpo.entropy import prompt_entropy

    config = bench.config
    with meter.stage("entropy", passes=config.entropy_samples * len(pool.prompts)):
        return prompt_entropy(
            policy,
            pool.prompts,
            n=config.entropy_samples,
            per_token=config.entropy_per_token,
            seed=derive(seed, 2),
            max_new_tokens=config.max_new_tokens,
        )


def _keep(bench: Bench, pairs: list[Pair], scores: Scores | None) -> np.ndarray | None:
    config = bench.config
    if config.prune is None and config.near_duplicates is None:
        return None
    keep = np.ones(len(pairs), dtype=bool)
    if config.prune is not None and scores is not None:
        keep &= keep_fluent(scores, *config.prune)
    if config.near_duplicates is not None:
        keep &= keep_distinct(pairs, config.near_duplicates)
    return keep


def _bought(bench: Bench, pool: RoundPool, order: np.ndarray, seed: int, number: int) -> Chosen:
    wanted = bench.config.steps[number - 1]
    audits = math.ceil(bench.config.audit_fraction * wanted)
    by_chance = np.random.default_rng(derive(seed, number, 3)).permutation(len(order))
    chosen, asked = Chosen(), set[int]()
    _buy(pool, by_chance, audits, number, True, chosen, asked)
    _buy(pool, order, wanted, number, False, chosen, asked)
    return chosen


def _buy(
    pool: RoundPool,
    order: np.ndarray,
    wanted: int,
    number: int,
    audit: bool,
    chosen: Chosen,
    asked: set[int],
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
                chosen.labels.append(Label(pair, p, number, audit))


def _add_margins(bench: Bench, chosen: Chosen, policy: Policy) -> None:
    """The policy's guess on each label before it trains on it. Not booked as a cost: every arm
    is measured so, also one that chose without.
    """
    if not chosen.labels:
        return
    pairs = [label.pair for label in chosen.labels]
    scores = score_pairs(policy, pairs, bench.reference(policy), bench.config.beta)
    chosen.labels = [
        Label(label.pair, label.p, label.round, label.audit, float(margin))
        for label, margin in zip(chosen.labels, scores.margin, strict=True)
    ]
    chosen.figures["tokens_chosen"] = float((scores.tokens_a + scores.tokens_b).mean() / 2)


def train(
    bench: Bench, policy: Policy, labels: list[Label], seed: int, number: int, meter: Meter
) -> tuple[Policy | None, dict[str, Any]]:
    """DPO on all labels so far, from π_0 or on from the last policy; (None, {}) without labels."""
    if not labels:
        return None, {}
    config = bench.config
    start = bench.base if config.reset == "reset" else policy
    with meter.stage("train"):
        result = train_dpo(
            start,
            [Preference(label.pair, label.p) for label in labels],
            bench.reference(start),
            config.beta,
            config.lora,
            trainer=config.trainer,
            learning_rate=config.learning_rate,
            epochs=config.epochs,
            max_steps=config.max_steps,
            batch_size=config.batch_size,
            seed=derive(seed, number, 5),
            loss=config.loss,
            label_smoothing=config.label_smoothing,
            length_normalised=config.length_normalised,
            optimizer=config.optimizer,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            schedule=config.schedule,
            warmup_ratio=config.warmup_ratio,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            gradient_checkpointing=config.gradient_checkpointing,
        )
    steps = result.metrics["steps"]
    norms = [step["grad_norm"] for step in steps if step.get("grad_norm") is not None]
    return result.policy, {
        "updates": len(steps),
        "train_loss": _finite(result.metrics["loss"]),
        "train_accuracy": _finite(result.metrics["accuracy"]),
        "grad_norm": _finite(float(np.mean(norms))) if norms else None,
        "dropped": len(result.dropped),
    }


def measure(bench: Bench, policy: Policy) -> tuple[dict[str, Any], list[float]]:
    """(figures, verdict of each evaluation prompt or held-out pair: 1, ½ or 0)."""
    return _accuracy(bench, policy) if bench.labels_file else _win_rate(bench, policy)


def _accuracy(bench: Bench, policy: Policy) -> tuple[dict[str, Any], list[float]]:
    held = bench.recorded.held
    scores = score_pairs(
        policy, [row.pair for row in held], bench.reference(policy), bench.config.beta
    )
    p = [row.p for row in held]
    rate = reward_accuracy(scores, p)
    verdicts = (np.sign(scores.margin) * np.sign(np.array(p) - 0.5) + 1) / 2
    figures = {"value": rate.rate, "low": rate.low, "high": rate.high, "n": rate.n}
    return figures, [float(v) for v in verdicts]


def _win_rate(bench: Bench, policy: Policy) -> tuple[dict[str, Any], list[float]]:
    from activedpo.evaluation import wilson

    config, prompts = bench.config, bench.prompts.held
    found = evaluate(
        policy,
        prompts,
        reference=bench.reference(policy),
        max_new_tokens=config.max_new_tokens,
        temperature=config.eval_temperature,
        seed=EVAL_SEED,
        theirs=bench.base_answers(),
    )
    judged = [
        judges.verdict(bench.judge, prompt, ours.text, theirs.text)
        for prompt, ours, theirs in zip(prompts, found.ours, found.theirs, strict=True)
    ]
    verdicts = [value for value, _ in judged]
    rate = wilson(sum(verdicts), len(verdicts))
    return {
        "value": rate.rate,
        "low": rate.low,
        "high": rate.high,
        "n": rate.n,
        "ties": sum(value == 0.5 for value in verdicts),
        "abstained": sum(abstained for _, abstained in judged),
        "kl_per_token": _finite(found.kl_per_token),
        "tokens": _finite(found.tokens),
        "words": _finite(found.text.words),
        "distinct_2": _finite(found.text.distinct_2),
        "repetition": _finite(found.text.repetition),
        "collapsed": found.text.collapsed,
    }, verdicts


def _batch_figures(chosen: Chosen, past: list[Label]) -> dict[str, Any]:
    """What the chosen pairs have in common."""
    margins = np.array([label.margin for label in chosen.labels], dtype=np.float64)
    sides = np.array([1.0 if label.p > 0.5 else -1.0 for label in chosen.labels])
    guessed = margins != 0
    texts = [t for x in chosen.labels for t in (x.pair.completion_a, x.pair.completion_b)]
    wrong = margins[guessed] * sides[guessed] < 0
    audits = np.array([label.audit for label in chosen.labels], dtype=bool)[guessed]
    return {
        "asked": len(chosen.labels) + chosen.undecided,
        "undecided": chosen.undecided,
        "margin_mean": _finite(float(np.abs(margins).mean())) if len(margins) else None,
        "wrong_share": float(wrong.mean()) if len(wrong) else None,
        "audit_wrong_share": float(wrong[audits].mean()) if audits.any() else None,
        "duplicates": 1 - len(set(texts)) / len(texts) if texts else None,
        "words_chosen": float(np.mean([len(t.split()) for t in texts])) if texts else None,
        "past": len(past),
        **chosen.figures,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
