"""Samples: repeatable, whole, with the policy's own log-probs."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

import activedpo as ad
import activedpo.decoding
from activedpo.decoding import Request, _Loop
from activedpo.encoding import end_token
from activedpo.errors import ContextOverflow, EmptyPrompt, InvalidPrompt, OutOfMemory
from activedpo.loading import Policy
from activedpo.sampling import Sampling, choose
from tests.library.conftest import as_messages, random_pairs
from tests.library.test_scoring import PACKING, with_random_adapter

MakePolicy = Callable[..., Policy]
PROMPTS = [pair.prompt for pair in random_pairs(10)]


@pytest.mark.parametrize("arch", PACKING)
def test_log_probs_are_what_scoring_computes(make_policy: MakePolicy, arch: str) -> None:
    policy = make_policy(arch=arch)
    pairs = ad.generate_pairs(policy, PROMPTS, max_new_tokens=60, max_rows=5)
    assert policy.slots
    scores = ad.score_pairs(policy, pairs)
    assert np.array([pair.logp_a for pair in pairs]) == pytest.approx(scores.logp_a, rel=1e-5)
    assert np.array([pair.logp_b for pair in pairs]) == pytest.approx(scores.logp_b, rel=1e-5)
    assert {pair.finished_a for pair in pairs} == {True, False}


def test_an_adapter_is_merged_for_sampling_and_only_where_it_is_on(policy: Policy) -> None:
    adapted = with_random_adapter(policy)
    pairs = ad.generate_pairs(adapted, PROMPTS, max_new_tokens=60)
    scores = ad.score_pairs(adapted, pairs)
    assert np.array([pair.logp_a for pair in pairs]) == pytest.approx(scores.logp_a, rel=1e-5)
    with adapted.adapter_off():
        off = ad.generate_pairs(adapted, PROMPTS, max_new_tokens=60)
    base = ad.generate_pairs(policy, PROMPTS, max_new_tokens=60)
    assert [p.tokens_a for p in off] == [p.tokens_a for p in base]
    assert [p.tokens_a for p in pairs] != [p.tokens_a for p in base]
    again = ad.score_pairs(adapted, pairs)
    assert again.logp_a.tolist() == scores.logp_a.tolist()


def test_a_seed_makes_a_pool_repeatable_however_it_is_batched(policy: Policy) -> None:
    few = ad.generate_pairs(policy, PROMPTS, max_new_tokens=40, seed=3, max_rows=3)
    many = ad.generate_pairs(policy, PROMPTS, max_new_tokens=40, seed=3, max_rows=64)
    alone = ad.generate_pairs(policy, PROMPTS[:1], max_new_tokens=40, seed=3)
    assert [p.tokens_a for p in few] == [p.tokens_a for p in many]
    assert alone[0].tokens_b == many[0].tokens_b
    other = ad.generate_pairs(policy, PROMPTS, max_new_tokens=40, seed=4)
    assert [p.tokens_a for p in few] != [p.tokens_a for p in other]


def test_the_two_completions_differ(policy: Policy) -> None:
    pairs = ad.generate_pairs(policy, ["same", "same"], max_new_tokens=20)
    assert len({pairs[0].tokens_a, pairs[0].tokens_b, pairs[1].tokens_a, pairs[1].tokens_b}) == 4


def test_a_completion_ends_at_its_limit_or_with_its_end_token(policy: Policy) -> None:
    end = end_token(policy, "x")
    for pair in ad.generate_pairs(policy, PROMPTS, max_new_tokens=30):
        assert pair.tokens_a is not None
        assert end not in pair.tokens_a
        assert len(pair.tokens_a) <= 30
        assert pair.finished_a == (len(pair.tokens_a) < 30) or len(pair.tokens_a) == 30
        assert "<|im_end|>" not in pair.completion_a
        assert pair.completion_a == policy.tokenizer.decode(
            list(pair.tokens_a), skip_special_tokens=True
        )


def test_the_context_cuts_before_the_limit(make_policy: MakePolicy) -> None:
    policy = make_policy(context=32)
    (pair,) = ad.generate_pairs(policy, ["x" * 28], max_new_tokens=50, seed=2)
    assert pair.tokens_a is not None
    assert len(pair.tokens_a) <= 4
    ad.score_pairs(policy, [pair])


def test_greedy_is_what_transformers_generates(policy: Policy) -> None:
    for prompt in PROMPTS[:4]:
        ((ours,),) = ad.generate(policy, [prompt], max_new_tokens=25, temperature=0.0)
        ids = torch.tensor([policy.tokenizer(prompt)["input_ids"]])
        theirs = policy.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=25,
            eos_token_id=policy.tokenizer.eos_token_id,
            pad_token_id=policy.tokenizer.pad_token_id,
        )[0, ids.shape[1] :].tolist()
        end = policy.tokenizer.eos_token_id
        assert list(ours.tokens) == [token for token in theirs if token != end]


def test_top_k_one_is_greedy(policy: Policy) -> None:
    greedy = ad.generate(policy, PROMPTS, max_new_tokens=10, temperature=0.0)
    top = ad.generate(policy, PROMPTS, max_new_tokens=10, top_k=1)
    narrow = ad.generate(policy, PROMPTS, max_new_tokens=10, top_p=1e-9)
    assert [c[0].tokens for c in greedy] == [c[0].tokens for c in top]
    assert [c[0].tokens for c in greedy] == [c[0].tokens for c in narrow]


@pytest.mark.parametrize("changed", [{"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 5}])
def test_log_probs_are_kept_only_where_they_are_the_policys(
    policy: Policy, changed: dict[str, float]
) -> None:
    (pair,) = ad.generate_pairs(policy, ["ab"], max_new_tokens=5, **changed)  # type: ignore[arg-type]
    assert pair.logp_a is None


def test_a_prompt_is_prefilled_once_for_all_its_samples(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ad.generate(policy, ["warm"], max_new_tokens=2)
    seen: list[tuple[int, ...]] = []
    prefill = activedpo.decoding.prefill

    def counted(model: Policy, prompts: list[tuple[int, ...]]) -> object:
        seen.extend(prompts)
        return prefill(model, prompts)

    monkeypatch.setattr(activedpo.decoding, "prefill", counted)
    ad.generate(policy, PROMPTS, n=7, max_new_tokens=10, max_rows=4)
    assert len(seen) == len(PROMPTS)


def test_finished_rows_are_replaced_while_others_go_on(policy: Policy) -> None:
    limits = [2, 30, 2, 30, 2, 2, 2, 2]
    requests = [Request((5, 6, 7 + i), 1, limit) for i, limit in enumerate(limits)]
    with torch.inference_mode():
        loop = _Loop(policy, requests, Sampling(), [frozenset()] * 8, rows=4, on_sample=None)
        steps = []
        one_step = loop._step
        loop._step = lambda: (steps.append(len(loop.rows)), one_step())  # type: ignore[method-assign, assignment]
        made = loop.run()
    assert [len(samples[0].tokens) for samples in made] == limits
    assert len(steps) < sum(limits) / 2
    assert min(steps) <= 2  # no slot computes for a row that is done


def test_a_long_pool_moves_left_in_its_slots(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ad.generate_pairs(policy, PROMPTS, max_new_tokens=40)
    monkeypatch.setattr("activedpo.slots.SLACK", 1)
    tight = ad.generate_pairs(policy, PROMPTS, max_new_tokens=40, max_rows=2)
    assert [p.tokens_a for p in tight] == [p.tokens_a for p in expected]


def test_the_draw_follows_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -torch.inf] + [-3.0] * 600])
    expected = torch.softmax(logits[0], -1).numpy()
    draws = 20_000
    uniforms = torch.linspace(0, 1, draws + 2, dtype=torch.float64)[1:-1]
    tokens, logps = choose(logits.expand(draws, -1).clone(), uniforms, Sampling())
    counts = np.bincount(tokens.numpy(), minlength=len(expected))
    assert counts / draws == pytest.approx(expected, abs=2e-4)
    assert counts[3] == 0
    assert logps.numpy() == pytest.approx(np.log(expected[tokens.numpy()]), rel=1e-5)


def test_a_draw_at_the_very_edge_is_a_token_that_exists() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf], [-torch.inf, -torch.inf, 5.0]])
    for edge in (0.0, 1.0 - 1e-16, 1.0):
        tokens, _ = choose(logits.clone(), torch.full((2,), edge, dtype=torch.float64), Sampling())
        assert tokens[0] in (0, 1)
        assert tokens[1] == 2


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    uniforms = torch.linspace(0, 0.999, 200, dtype=torch.float64)
    tokens, _ = choose(logits.expand(200, -1).clone(), uniforms, Sampling(top_p=0.75))
    assert set(tokens.tolist()) == {0, 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": 0},
    ],
)
def test_settings_that_make_no_sense_are_named(policy: Policy, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ad.generate_pairs(policy, ["x"], **wrong)  # type: ignore[arg-type]


def test_chat_prompts_end_with_their_turn(policy: Policy) -> None:
    (pair,) = ad.generate_pairs(policy, [as_messages("hi")], max_new_tokens=10)
    assert pair.prompt == as_messages("hi")
    assert pair.prompt_tokens is not None
    assert policy.tokenizer.decode(list(pair.prompt_tokens)).endswith("assistant\n")


def test_ended_by_another_token_the_sum_is_not_kept(policy: Policy) -> None:
    policy.base.generation_config.eos_token_id = [1, *range(40, 140)]
    pairs = ad.generate_pairs(policy, PROMPTS, max_new_tokens=40)
    assert all(pair.logp_a is None for pair in pairs if pair.finished_a)


@pytest.mark.parametrize("arch", ["bloom", "mamba"])
def test_other_architectures_sample_by_transformers(make_policy: MakePolicy, arch: str) -> None:
    policy = make_policy(arch=arch)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pairs = ad.generate_pairs(policy, PROMPTS[:3], max_new_tokens=20, seed=1)
    assert any("model.generate" in str(warning.message) for warning in said)
    again = ad.generate_pairs(policy, PROMPTS[:3], max_new_tokens=20, seed=1)
    assert pairs == again
    assert pairs[0].logp_a is None
    assert pairs[0].tokens_a != pairs[0].tokens_b


def test_memory_that_runs_out_halves_the_rows(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ad.generate_pairs(policy, PROMPTS, max_new_tokens=10)
    step = activedpo.decoding.step

    def tight(model: Policy, cache: object, tokens: torch.Tensor) -> torch.Tensor:
        if len(tokens) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return step(model, cache, tokens)  # type: ignore[arg-type]

    monkeypatch.setattr(activedpo.decoding, "step", tight)
    got = ad.generate_pairs(policy, PROMPTS, max_new_tokens=10, max_rows=8)
    assert [p.tokens_a for p in got] == [p.tokens_a for p in expected]
    monkeypatch.setattr(activedpo.decoding, "step", _always_full)
    with pytest.raises(OutOfMemory, match="max_new_tokens"):
        ad.generate_pairs(policy, PROMPTS, max_new_tokens=10)


def _always_full(*_: object) -> torch.Tensor:
    raise torch.OutOfMemoryError("out of memory")


def test_prompts_that_cannot_be_answered_are_named(make_policy: MakePolicy) -> None:
    policy = make_policy(context=32)
    with pytest.raises(ContextOverflow, match="prompt 1 needs 33 tokens"):
        ad.generate_pairs(policy, ["ab", "x" * 32])
    with pytest.raises(EmptyPrompt, match="prompt 1"):
        ad.generate_pairs(policy, ["ab", ""])
    with pytest.raises(InvalidPrompt, match="must be a list"):
        ad.generate_pairs(policy, "ab")
    assert ad.generate_pairs(policy, []) == []


def test_progress_counts_pairs(policy: Policy) -> None:
    seen: list[tuple[int, int]] = []
    ad.generate_pairs(
        policy, PROMPTS, max_new_tokens=5, progress=lambda done, total: seen.append((done, total))
    )
    assert [done for done, _ in seen] == list(range(1, 11))
    assert seen[-1] == (10, 10)
