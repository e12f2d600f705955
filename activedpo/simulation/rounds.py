"""One simulated round: choose, label, train, evaluate; the same library calls as the worker."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from activedpo.evaluation import evaluate, reward_accuracy
from activedpo.loading import Policy
from activedpo.scoring import score_pairs
from activedpo.simulation import judges
from activedpo.simulation.bench import EVAL_SEED, Bench
from activedpo.simulation.choosing import Chosen, Turn, choose
from activedpo.simulation.meter import Meter
from activedpo.simulation.store import Label
from activedpo.training import train_dpo
from activedpo.types import Preference


def play(bench: Bench, arm: str, seed: int, number: int) -> None:
    """Plays a round and stores it whole; does nothing where it is stored already."""
    store = bench.store
    if store.is_done(arm, seed, number):
        return
    past, policy = store.labels(arm, seed, number - 1), bench.policy(arm, seed, number - 1)
    turn = Turn(bench, arm, seed, number, policy, past, Meter())
    chosen = choose(turn)
    labels = past + chosen.labels
    trained, learnt = train(turn, labels + chosen.pseudo)
    with turn.meter.stage("evaluate"):
        figures, verdicts = measure(bench, trained or policy)
    row = {
        "labels": bench.config.labels[number - 1],
        "labelled": len(labels),
        "metric": bench.metric,
        **figures,
        **_batch_figures(chosen),
        **learnt,
        **turn.meter.figures(),
    }
    with store.whole(store.round_folder(arm, seed, number)) as folder:
        store.write_labels(folder, chosen.labels)
        store.write_json(folder / "row.json", row)
        store.write_json(folder / "verdicts.json", verdicts)
        if trained is not None and number < len(bench.config.labels):
            trained.save(folder / "policy", base_name="base")
    store.drop_policy(arm, seed, number - 1)


def train(turn: Turn, labels: list[Label]) -> tuple[Policy | None, dict[str, Any]]:
    """DPO on these labels, from π_0 or on from the last policy; (None, {}) without labels."""
    if not labels:
        return None, {}
    config = turn.bench.config
    start = turn.bench.base if config.reset == "reset" else turn.policy
    with turn.meter.stage("train"):
        result = train_dpo(
            start,
            [Preference(label.pair, label.p) for label in labels],
            turn.bench.reference(start),
            config.beta,
            config.lora,
            trainer=config.trainer,
            learning_rate=config.learning_rate,
            epochs=config.epochs,
            max_steps=config.max_steps,
            batch_size=config.batch_size,
            seed=turn.draw(5),
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


def _batch_figures(chosen: Chosen) -> dict[str, Any]:
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
        **chosen.figures,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
