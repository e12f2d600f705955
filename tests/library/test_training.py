"""A round of DPO on a tiny model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import activedpo as ad
import activedpo.packed
from activedpo.errors import (
    CheckpointMismatch,
    Diverged,
    Interrupted,
    InvalidPreference,
    ModelMismatch,
    NothingToTrain,
    OutOfMemory,
)
from activedpo.loading import Policy
from activedpo.packed_trainer import PackedTrainer, factor
from tests.library.conftest import random_preferences

MakePolicy = Callable[..., Policy]
BOTH = pytest.mark.parametrize("trainer", ["packed", "trl"])
WAYS = pytest.mark.parametrize("lora", [8, 0], ids=["lora", "full"])
FAST: dict[str, Any] = {"batch_size": 8, "learning_rate": 5e-3, "epochs": 6}


def accuracy(policy: Policy, preferences: list[ad.Preference], **given: Any) -> float:
    margin = ad.score_pairs(policy, [p.pair for p in preferences], **given).margin
    return float(np.mean((margin > 0) == np.array([p.p > 0.5 for p in preferences])))


@WAYS
@BOTH
def test_it_learns_the_labels(policy: Policy, trainer: str, lora: int, tmp_out: Path) -> None:
    preferences = random_preferences(16)
    before = ad.score_pairs(policy, [p.pair for p in preferences])
    result = ad.train_dpo(policy, preferences, lora=lora, trainer=trainer, out=tmp_out, **FAST)
    assert accuracy(result.policy, preferences) > 0.9
    assert result.metrics["accuracy"] > 0.9
    first, last = result.metrics["steps"][0], result.metrics["steps"][-1]
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-5)
    assert last["loss"] < 0.5
    assert last["reward_chosen"] > last["reward_rejected"]
    # The policy that was passed in is as it was.
    after = ad.score_pairs(policy, [p.pair for p in preferences])
    assert after.logp_a.tolist() == before.logp_a.tolist()
    assert not policy.has_adapter


def test_a_turned_sign_is_found_out(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above is worth something: with −Δ in the loss, it does not hold."""
    preferences = random_preferences(16)
    right = activedpo.packed.LOSSES["sigmoid"]
    monkeypatch.setitem(activedpo.packed.LOSSES, "sigmoid", lambda d, p, b: right(-d, p, b))
    result = ad.train_dpo(policy, preferences, lora=8, **FAST)
    assert accuracy(result.policy, preferences) < 0.1


@WAYS
@BOTH
def test_what_is_saved_is_what_was_trained(
    policy: Policy, trainer: str, lora: int, tmp_out: Path
) -> None:
    preferences = random_preferences(8)
    result = ad.train_dpo(policy, preferences, lora=lora, trainer=trainer, out=tmp_out, **FAST)
    assert result.out == str(tmp_out)
    loaded = ad.load(policy.name, adapter=tmp_out) if lora else ad.load(tmp_out)
    pairs = [p.pair for p in preferences]
    mine, theirs = ad.score_pairs(result.policy, pairs), ad.score_pairs(loaded, pairs)
    assert theirs.logp_a == pytest.approx(mine.logp_a, rel=1e-6)
    files = {file.name for file in tmp_out.rglob("*") if file.is_file()}
    assert not {name for name in files if name.endswith((".bin", ".pt", ".pkl", ".pth"))}
    if lora:
        config = json.loads((tmp_out / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == Path(policy.name).name


@WAYS
def test_without_a_reference_the_trained_policy_is_compared_with_where_it_started(
    policy: Policy, lora: int
) -> None:
    preferences = random_preferences(8)
    pairs = [p.pair for p in preferences]
    start = ad.score_pairs(policy, pairs)
    result = ad.train_dpo(policy, preferences, lora=lora, **FAST)
    scores = ad.score_pairs(result.policy, pairs)
    assert scores.ref_logp_a == pytest.approx(start.logp_a, rel=1e-6)


@WAYS
@BOTH
def test_a_second_round_keeps_the_first_reference(policy: Policy, trainer: str, lora: int) -> None:
    """trl by itself takes the last policy: its first loss would be log 2 again."""
    preferences = random_preferences(16)
    first = ad.train_dpo(policy, preferences, lora=lora, trainer=trainer, **FAST)
    second = ad.train_dpo(first.policy, preferences, lora=lora, trainer=trainer, **FAST)
    loss = second.metrics["steps"][0]["loss"]
    assert loss < 0.9 * np.log(2)
    pairs = [p.pair for p in preferences]
    scores = ad.score_pairs(second.policy, pairs)
    assert scores.ref_logp_a == pytest.approx(ad.score_pairs(policy, pairs).logp_a, rel=1e-6)
    assert np.abs(scores.margin).mean() > np.abs(ad.score_pairs(first.policy, pairs).margin).mean()


@BOTH
def test_continue_trains_the_same_adapter_and_none_on_top(
    policy: Policy, trainer: str, tmp_out: Path
) -> None:
    preferences = random_preferences(8)
    first = ad.train_dpo(policy, preferences, lora=4, trainer=trainer, **FAST)
    second = ad.train_dpo(first.policy, preferences, lora=16, trainer=trainer, out=tmp_out, **FAST)
    assert list(second.policy.model.peft_config) == ["default"]
    assert second.policy.model.peft_config["default"].r == 4
    names = {name for name, _ in second.policy.model.named_parameters()}
    assert names == {name for name, _ in first.policy.model.named_parameters()}
    assert not [d for d in tmp_out.iterdir() if d.is_dir()]
    assert accuracy(ad.load(policy.name, adapter=tmp_out), preferences) > 0.9


def test_an_adapter_over_trained_full_weights_still_means_the_first_policy(policy: Policy) -> None:
    preferences = random_preferences(8)
    pairs = [p.pair for p in preferences]
    full = ad.train_dpo(policy, preferences, lora=0, **FAST)
    then = ad.train_dpo(full.policy, preferences, lora=4, **FAST)
    scores = ad.score_pairs(then.policy, pairs)
    assert scores.ref_logp_a == pytest.approx(ad.score_pairs(policy, pairs).logp_a, rel=1e-6)


def test_full_weights_from_an_adapter_start_from_both_together(policy: Policy) -> None:
    preferences = random_preferences(8)
    pairs = [p.pair for p in preferences]
    first = ad.train_dpo(policy, preferences, lora=4, **FAST)
    full = ad.train_dpo(first.policy, preferences, lora=0, learning_rate=1e-9, epochs=1)
    assert not full.policy.has_adapter
    mine, theirs = ad.score_pairs(full.policy, pairs), ad.score_pairs(first.policy, pairs)
    assert mine.logp_a == pytest.approx(theirs.logp_a, rel=1e-4)
    assert mine.ref_logp_a == pytest.approx(theirs.ref_logp_a, rel=1e-4)


def test_a_given_reference_is_the_reference(policy: Policy, make_policy: MakePolicy) -> None:
    other, preferences = make_policy(seed=1), random_preferences(8)
    result = ad.train_dpo(policy, preferences, reference=other, lora=0, epochs=1)
    assert result.metrics["steps"][0]["loss"] != pytest.approx(np.log(2), abs=1e-3)
    pairs = [p.pair for p in preferences]
    mine = ad.score_pairs(result.policy, pairs)
    assert mine.ref_logp_a == pytest.approx(ad.score_pairs(other, pairs).logp_a)


@BOTH
def test_a_pair_beyond_the_context_is_counted_and_named_and_never_cut(
    make_policy: MakePolicy, trainer: str
) -> None:
    policy = make_policy(context=64)
    preferences = random_preferences(6, longest=10)
    long = ad.Preference(ad.Pair("x" * 60, "a" * 10, "b", id="too-long"))
    result = ad.train_dpo(policy, [long, *preferences], trainer=trainer, lora=4, epochs=1)
    assert result.metrics["dropped"] == 1
    assert result.metrics["pairs"] == 6
    (dropped,) = result.dropped
    assert (dropped.index, dropped.id) == (0, "too-long")
    assert "71 tokens" in dropped.reason


def test_with_nothing_left_it_says_why(make_policy: MakePolicy) -> None:
    policy = make_policy(context=32)
    with pytest.raises(NothingToTrain, match="needs 42 tokens"):
        ad.train_dpo(policy, [ad.Preference(ad.Pair("x" * 40, "a", "b"))])
    with pytest.raises(NothingToTrain, match="the list is empty"):
        ad.train_dpo(policy, [])


def test_a_soft_label_pulls_the_margin_to_its_logit(policy: Policy) -> None:
    preferences = [replace(p, p=0.8) for p in random_preferences(3)]
    result = ad.train_dpo(
        policy, preferences, lora=8, learning_rate=3e-3, epochs=150, batch_size=3, beta=0.5
    )
    scores = ad.score_pairs(result.policy, [p.pair for p in preferences], beta=0.5)
    assert scores.margin == pytest.approx(np.full(3, np.log(4)), abs=0.1)


def test_a_coin_flip_at_margin_zero_moves_nothing(policy: Policy) -> None:
    preferences = [replace(p, p=0.5) for p in random_preferences(4)]
    result = ad.train_dpo(policy, preferences, lora=0, epochs=1, optimizer="sgd", learning_rate=1.0)
    assert result.metrics["accuracy"] is None
    for mine, before in zip(
        result.policy.model.parameters(), policy.model.parameters(), strict=True
    ):
        assert torch.allclose(mine, before, atol=1e-6)


def test_a_weight_is_a_factor_of_the_gradient(policy: Policy) -> None:
    """One SGD step on one pair of weight 3 is the step of three times the rate."""
    (preference,) = random_preferences(1)
    options: dict[str, Any] = {"lora": 0, "epochs": 1, "optimizer": "sgd", "max_grad_norm": 0.0}
    heavy = ad.train_dpo(policy, [replace(preference, weight=3.0)], learning_rate=0.01, **options)
    fast = ad.train_dpo(policy, [preference], learning_rate=0.03, **options)
    for mine, other in zip(
        heavy.policy.model.parameters(), fast.policy.model.parameters(), strict=True
    ):
        assert torch.allclose(mine, other, atol=1e-6)


def test_p_zero_is_the_pair_turned_round(policy: Policy) -> None:
    (preference,) = random_preferences(1)
    p = preference.pair
    turned = ad.Pair(p.prompt, p.completion_b, p.completion_a, p.finished_b, p.finished_a)
    one = ad.train_dpo(policy, [ad.Preference(p, p=0.0)], lora=0, epochs=2)
    two = ad.train_dpo(policy, [ad.Preference(turned, p=1.0)], lora=0, epochs=2)
    for mine, other in zip(
        one.policy.model.parameters(), two.policy.model.parameters(), strict=True
    ):
        assert torch.allclose(mine, other, atol=1e-5)


def test_trl_refuses_what_it_cannot_do(policy: Policy) -> None:
    (preference,) = random_preferences(1)
    with pytest.raises(InvalidPreference, match=r"pair 0 \(id pair-0\) has p = 0\.7"):
        ad.train_dpo(policy, [replace(preference, p=0.7)], trainer="trl")
    with pytest.raises(InvalidPreference, match=r"weight 2\.0"):
        ad.train_dpo(policy, [replace(preference, weight=2.0)], trainer="trl")
    with pytest.raises(InvalidPreference, match="label_smoothing"):
        ad.train_dpo(policy, [preference], trainer="trl", label_smoothing=0.1)


def test_the_size_of_the_pieces_does_not_matter(policy: Policy) -> None:
    preferences = random_preferences(8)
    options: dict[str, Any] = {"lora": 0, "epochs": 2, "optimizer": "sgd", "learning_rate": 0.05}
    whole = ad.train_dpo(policy, preferences, token_budget=100_000, **options)
    pieces = ad.train_dpo(policy, preferences, token_budget=1, **options)
    for mine, other in zip(
        whole.policy.model.parameters(), pieces.policy.model.parameters(), strict=True
    ):
        assert torch.allclose(mine, other, atol=1e-6)


def test_activation_checkpointing_changes_no_number(policy: Policy) -> None:
    preferences = random_preferences(6)
    plain = ad.train_dpo(policy, preferences, lora=4, epochs=2)
    saved = ad.train_dpo(policy, preferences, lora=4, epochs=2, gradient_checkpointing=True)
    losses = [[step["loss"] for step in r.metrics["steps"]] for r in (plain, saved)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert not saved.policy.base.is_activation_checkpointing


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@WAYS
def test_a_resume_goes_on_bit_for_bit(
    policy: Policy, lora: int, dropout: float, tmp_path: Path
) -> None:
    preferences = random_preferences(10)
    options: dict[str, Any] = FAST | {"lora": lora, "lora_dropout": dropout, "batch_size": 4}
    whole = ad.train_dpo(policy, preferences, **options)

    class Killed(Exception):
        pass

    def die(step: int, total: int, metrics: dict[str, float]) -> None:
        if step == 8:
            raise Killed

    folder = tmp_path / "checkpoints"
    with pytest.raises(Killed):
        ad.train_dpo(
            policy, preferences, checkpoint_every=3, checkpoint_dir=folder, progress=die, **options
        )
    assert [p.name for p in folder.iterdir()] == ["step-00000006"]
    seen: list[int] = []
    rest = ad.train_dpo(
        policy,
        preferences,
        resume_from=folder,
        progress=lambda step, total, metrics: seen.append(step),
        **options,
    )
    assert seen[0] == 7
    for mine, other in zip(
        rest.policy.model.parameters(), whole.policy.model.parameters(), strict=True
    ):
        assert torch.equal(mine, other)
    assert len(rest.metrics["steps"]) == len(whole.metrics["steps"])


@pytest.mark.parametrize("trainer", ["packed", "trl"])
def test_a_training_that_is_asked_to_stop_leaves_a_checkpoint_of_its_last_step(
    policy: Policy, trainer: str, tmp_path: Path
) -> None:
    preferences = random_preferences(8)
    options: dict[str, Any] = FAST | {"batch_size": 4, "max_steps": 6, "trainer": trainer}
    keep: dict[str, Any] = {"checkpoint_every": 100, "checkpoint_dir": tmp_path}
    done: list[int] = []

    def asked() -> bool:
        done.append(1)
        return len(done) == 2

    with pytest.raises(Interrupted, match="after step 2 of 6") as stopped:
        ad.train_dpo(policy, preferences, stop=asked, **keep, **options)
    assert (stopped.value.step, stopped.value.total) == (2, 6)
    seen: list[int] = []
    rest = ad.train_dpo(
        policy,
        preferences,
        resume_from=tmp_path,
        progress=lambda step, total, metrics: seen.append(step),
        **keep,
        **options,
    )
    assert seen == [3, 4, 5, 6]
    if trainer == "packed":
        whole = ad.train_dpo(policy, preferences, **options)
        for mine, other in zip(
            rest.policy.model.parameters(), whole.policy.model.parameters(), strict=True
        ):
            assert torch.equal(mine, other)


def test_a_checkpoint_of_other_labels_is_refused(policy: Policy, tmp_path: Path) -> None:
    preferences = random_preferences(6)
    ad.train_dpo(policy, preferences, epochs=1, checkpoint_every=1, checkpoint_dir=tmp_path)
    with pytest.raises(CheckpointMismatch, match="other pairs or settings"):
        ad.train_dpo(policy, preferences[1:], epochs=1, resume_from=tmp_path)


def test_a_folder_without_checkpoint_starts_from_the_beginning(
    policy: Policy, tmp_path: Path
) -> None:
    result = ad.train_dpo(policy, random_preferences(4), epochs=1, resume_from=tmp_path / "none")
    assert result.metrics["steps"][0]["step"] == 1


def test_a_half_written_checkpoint_is_not_taken(policy: Policy, tmp_path: Path) -> None:
    preferences = random_preferences(6)
    ad.train_dpo(policy, preferences, epochs=1, checkpoint_every=1, checkpoint_dir=tmp_path)
    (tmp_path / "step-00000099").mkdir()
    result = ad.train_dpo(policy, preferences, epochs=1, resume_from=tmp_path)
    assert len(result.metrics["steps"]) == 1


def broken_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `number`-th batch's loss is no number for its second pair."""
    wrong, seen = activedpo.packed._wrong, [0]

    def spoiled(examples: Any, losses: torch.Tensor) -> str | None:
        seen[0] += 1
        if seen[0] == number:
            losses = losses.clone()
            losses[1] = torch.nan
        return wrong(examples, losses)

    monkeypatch.setattr(activedpo.packed, "_wrong", spoiled)


def test_a_loss_that_is_no_number_stops_with_the_last_good_weights(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = random_preferences(8)
    options: dict[str, Any] = FAST | {"schedule": "constant", "token_budget": 100_000}
    good = ad.train_dpo(policy, preferences, max_steps=2, **options)
    broken_at(4, monkeypatch)
    result = ad.train_dpo(policy, preferences, **options)
    assert "step 4: the loss of pair" in result.metrics["stopped"]
    assert "(id pair-" in result.metrics["stopped"]
    assert "weights of step 2 kept" in result.metrics["stopped"]
    for mine, other in zip(
        result.policy.model.parameters(), good.policy.model.parameters(), strict=True
    ):
        assert torch.equal(mine, other)


def test_a_first_loss_that_is_no_number_is_an_error(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_at(1, monkeypatch)
    with pytest.raises(Diverged, match="nothing was trained"):
        ad.train_dpo(policy, random_preferences(8))


def test_a_rate_beyond_sense_ends_with_finite_weights(policy: Policy) -> None:
    result = ad.train_dpo(
        policy, random_preferences(8), lora=0, learning_rate=1e9, optimizer="sgd", epochs=8
    )
    assert result.metrics["stopped"]
    assert all(torch.isfinite(p).all() for p in result.policy.model.parameters())


def test_stored_reference_log_probs_spare_the_pass_and_change_nothing(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = random_preferences(8)
    scores = ad.score_pairs(policy, [p.pair for p in preferences])
    stored = np.stack([scores.ref_logp_a, scores.ref_logp_b], axis=1)
    fresh = ad.train_dpo(policy, preferences, lora=4, epochs=2)
    scored: list[int] = []
    score_rows = activedpo.training.score_rows

    def counted(model: Policy, rows: list[Any], **given: Any) -> Any:
        scored.append(len(rows))
        return score_rows(model, rows, **given)

    monkeypatch.setattr("activedpo.training.score_rows", counted)
    spared = ad.train_dpo(policy, preferences, lora=4, epochs=2, ref_logps=stored)
    assert scored == [2]
    losses = [[step["loss"] for step in r.metrics["steps"]] for r in (fresh, spared)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_stored_log_probs_of_another_model_are_found_out(
    policy: Policy, make_policy: MakePolicy
) -> None:
    preferences = random_preferences(8)
    other = ad.score_pairs(make_policy(seed=5), [p.pair for p in preferences])
    stored = np.stack([other.logp_a, other.logp_b], axis=1)
    with pytest.raises(ModelMismatch, match="score the pairs again"):
        ad.train_dpo(policy, preferences, ref_logps=stored)
    with pytest.raises(ValueError, match=r"shape \(8, 2\)"):
        ad.train_dpo(policy, preferences, ref_logps=stored[1:])
    stored[3] = np.nan
    with pytest.raises(ValueError, match="pair 3 is not finite"):
        ad.train_dpo(policy, preferences, ref_logps=stored)


def test_a_held_back_part_stops_it_in_time(policy: Policy) -> None:
    """Random labels cannot be learnt: what is held back gets worse, and the best weights stay."""
    result = ad.train_dpo(
        policy,
        random_preferences(16),
        lora=8,
        learning_rate=1e-2,
        epochs=40,
        batch_size=4,
        holdout=0.25,
    )
    assert "held-back" in result.metrics["stopped"]
    held = [s["held_loss"] for s in result.metrics["steps"] if "held_loss" in s]
    assert len(held) < 40
    assert held[-1] >= min(held)


def test_memory_that_runs_out_halves_the_pieces(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = random_preferences(8)
    expected = ad.train_dpo(policy, preferences, lora=4, epochs=2, token_budget=2_000)
    logp = activedpo.packed.Pass.forward

    def tight(self: Any, rows: list[Any]) -> torch.Tensor:
        if len(rows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return logp(self, rows)

    monkeypatch.setattr(activedpo.packed.Pass, "forward", tight)
    result = ad.train_dpo(policy, preferences, lora=4, epochs=2, token_budget=2_000)
    losses = [[step["loss"] for step in r.metrics["steps"]] for r in (expected, result)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)

    def never(self: Any, rows: list[Any]) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(activedpo.packed.Pass, "forward", never)
    with pytest.raises(OutOfMemory, match="gradient_checkpointing"):
        ad.train_dpo(policy, preferences, lora=4, epochs=1)


def test_progress_names_every_step(policy: Policy) -> None:
    seen: list[tuple[int, int]] = []
    ad.train_dpo(
        policy,
        random_preferences(10),
        batch_size=4,
        epochs=2,
        progress=lambda step, total, metrics: seen.append((step, total)),
    )
    assert seen == [(i, 6) for i in range(1, 7)]


def test_max_steps_decides_over_epochs(policy: Policy) -> None:
    result = ad.train_dpo(policy, random_preferences(10), batch_size=4, max_steps=7)
    assert len(result.metrics["steps"]) == 7


def test_every_label_is_seen_once_an_epoch(policy: Policy) -> None:
    result = ad.train_dpo(policy, random_preferences(10), batch_size=4, epochs=1)
    assert result.metrics["pairs"] == 10
    trainer = PackedTrainer.__new__(PackedTrainer)
    trainer.examples = list(range(10))  # type: ignore[assignment]
    trainer.an_epoch = 3
    trainer.settings = type("S", (), {"batch_size": 4, "seed": 1, "shuffle": True})()
    epochs = [[trainer._order(3 * e + i) for i in range(3)] for e in range(2)]
    for epoch in epochs:
        assert sorted(index for batch in epoch for index in batch) == list(range(10))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("arch", ["bloom", "gemma2", "gpt2"])
def test_other_architectures_train_too(make_policy: MakePolicy, arch: str) -> None:
    policy, preferences = make_policy(arch=arch), random_preferences(8)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = ad.train_dpo(policy, preferences, lora=8, **FAST)
    assert any("block mask" in str(w.message) for w in said) == (arch == "bloom")
    assert accuracy(result.policy, preferences) > 0.9


@WAYS
def test_bfloat16_trains_in_float32_weights(make_policy: MakePolicy, lora: int) -> None:
    policy, preferences = make_policy(dtype="bfloat16"), random_preferences(12)
    result = ad.train_dpo(policy, preferences, lora=lora, **FAST)
    trained = [p for n, p in result.policy.model.named_parameters() if not lora or "lora_" in n]
    assert {p.dtype for p in trained} == {torch.float32}
    assert accuracy(result.policy, preferences) > 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"trainer": "magic"},
        {"loss": "magic"},
        {"beta": 0.0},
        {"label_smoothing": 0.5},
        {"lora": -1},
        {"batch_size": 0},
        {"max_steps": 0},
        {"schedule": "magic"},
        {"holdout": 1.0},
        {"optimizer": "magic"},
        {"checkpoint_every": 0},
        {"checkpoint_every": 1},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_named(policy: Policy, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ad.train_dpo(policy, random_preferences(2), **wrong)


def test_rates_by_hand() -> None:
    """10 steps, 2 of them warm-up: 0, ½, then from 1 down to 1/8 (linear), or along a cosine."""

    def rates(schedule: str) -> list[float]:
        settings: Any = type("S", (), {"warmup_ratio": 0.2, "schedule": schedule})()
        return [factor(number, 10, settings) for number in range(10)]

    assert rates("linear") == pytest.approx(
        [0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )
    assert rates("constant") == [0, 0.5] + [1] * 8
    assert rates("cosine")[6] == pytest.approx(0.5)
