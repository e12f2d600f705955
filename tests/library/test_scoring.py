"""Packed scoring is the plain computation, on every architecture."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

import activedpo as ad
import activedpo.scoring
from activedpo.attention import block_mask
from activedpo.encoding import encode_pairs
from activedpo.errors import ContextOverflow, OutOfMemory, TokenizerMismatch
from activedpo.loading import Policy
from activedpo.packed import Example, PackedStep, StepSettings
from activedpo.packing import Row, can_flex, collate, flex_learns, plain_logprobs, plan
from activedpo.trainable import trainable_copy
from tests.library.conftest import random_pairs

MakePolicy = Callable[..., Policy]

PACKING = [
    "llama",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "mistral",
    "gpt2",
    "gpt_neox",
    "phi",
    "opt",
]


def one_at_a_time(policy: Policy, pairs: list[ad.Pair]) -> np.ndarray:
    """(n, 2) summed log-probs by the plain way, in float32."""
    with torch.no_grad():
        return np.array(
            [
                [float(plain_logprobs(policy, e.prompt, c).double().sum()) for c in (e.a, e.b)]
                for e in encode_pairs(policy, pairs)
            ]
        )


def with_random_adapter(policy: Policy) -> Policy:
    trained = trainable_copy(policy, lora=4, seed=0)
    with torch.no_grad():
        for name, weight in trained.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    trained.model.requires_grad_(False)
    return trained


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("arch", PACKING)
def test_packed_equals_one_sequence_at_a_time(
    make_policy: MakePolicy, arch: str, lora: bool, chat: bool
) -> None:
    policy = make_policy(arch=arch)
    if lora:
        policy = with_random_adapter(policy)
    pairs = random_pairs(12, chat=chat)
    scores = ad.score_pairs(policy, pairs, token_budget=300)
    assert policy.packs
    ours = np.stack([scores.logp_a, scores.logp_b], axis=1)
    assert ours == pytest.approx(one_at_a_time(policy, pairs), rel=1e-5)
    theirs = np.stack([scores.ref_logp_a, scores.ref_logp_b], axis=1)
    with policy.adapter_off():
        assert theirs == pytest.approx(one_at_a_time(policy, pairs), rel=1e-5)
    assert (np.abs(scores.margin).max() > 0.01) == lora


def test_bfloat16_stays_near_float32(make_policy: MakePolicy) -> None:
    pairs = random_pairs(12)
    wide = ad.score_pairs(make_policy(), pairs)
    low = ad.score_pairs(make_policy(dtype="bfloat16"), pairs)
    assert low.logp_a == pytest.approx(wide.logp_a, rel=0.02)


@pytest.mark.parametrize("arch", ["bloom", "mamba"])
def test_what_cannot_take_the_mask_falls_back_and_says_so_once(
    make_policy: MakePolicy, arch: str
) -> None:
    policy, pairs = make_policy(arch=arch), random_pairs(4)
    with pytest.warns(UserWarning, match=f"{arch}: this architecture does not take"):
        scores = ad.score_pairs(policy, pairs, hidden=True)
    assert scores.logp_a == pytest.approx(one_at_a_time(policy, pairs)[:, 0], rel=1e-5)
    assert scores.hidden is not None
    assert scores.hidden.shape == (4, 2, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ad.score_pairs(policy, pairs)


def test_an_architecture_that_gives_other_numbers_is_found_out(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A model that ignores positions given to it would score b behind a's positions.
    body = policy.base.base_model
    forward = body.forward
    monkeypatch.setattr(
        body, "forward", lambda **given: forward(**(given | {"position_ids": None}))
    )
    with pytest.warns(UserWarning, match="block mask"):
        ad.score_pairs(policy, random_pairs(2))
    assert policy.packs is False


def test_shapes_and_kinds(policy: Policy) -> None:
    pairs = [*random_pairs(3), ad.Pair("x", "same", "same")]
    scores = ad.score_pairs(policy, pairs, beta=0.5)
    for name in ("logp_a", "logp_b", "ref_logp_a", "ref_logp_b", "margin"):
        array = getattr(scores, name)
        assert array.shape == (4,)
        assert array.dtype == np.float64
    encoded = encode_pairs(policy, pairs)
    assert scores.tokens_a.tolist() == [len(pair.a) for pair in encoded]
    assert scores.tokens_a.dtype == np.int64
    assert scores.equal.tolist() == [False, False, False, True]
    assert (scores.margin == 0).all()


def test_an_empty_pool_has_empty_scores(policy: Policy) -> None:
    assert len(ad.score_pairs(policy, [])) == 0


def test_the_margin_is_beta_times_the_difference_of_log_ratios(make_policy: MakePolicy) -> None:
    policy, reference, pairs = make_policy(), make_policy(seed=1), random_pairs(5)
    s = ad.score_pairs(policy, pairs, reference=reference, beta=0.3)
    assert s.ref_logp_a == pytest.approx(ad.score_pairs(reference, pairs).logp_a)
    expected = 0.3 * ((s.logp_a - s.ref_logp_a) - (s.logp_b - s.ref_logp_b))
    assert s.margin == pytest.approx(expected)
    assert np.abs(s.margin).min() > 0


def test_a_reference_may_be_a_folder(policy: Policy, model_folder: Callable[..., str]) -> None:
    other, pairs = model_folder(seed=1), random_pairs(3)
    by_path = ad.score_pairs(policy, pairs, reference=other)
    assert by_path.margin == pytest.approx(
        ad.score_pairs(policy, pairs, reference=ad.load(other)).margin
    )


def test_a_reference_that_lacks_a_token_is_refused(policy: Policy, make_policy: MakePolicy) -> None:
    small = make_policy()
    small.base.resize_token_embeddings(60)
    with pytest.raises(TokenizerMismatch, match="60 rows"):
        ad.score_pairs(policy, random_pairs(3), reference=small)


def test_hidden_states_are_the_means_over_a_completion(policy: Policy) -> None:
    pairs = random_pairs(3)
    scores = ad.score_pairs(policy, pairs, hidden=True)
    e = encode_pairs(policy, pairs)[1]
    with torch.no_grad():
        ids = torch.tensor([[*e.prompt, *e.b[:-1]]])
        states = policy.base.base_model(input_ids=ids).last_hidden_state[0, len(e.prompt) - 1 :]
    assert scores.hidden is not None
    assert scores.hidden[1, 1] == pytest.approx(states.mean(0).numpy(), rel=1e-4, abs=1e-5)


def test_the_order_of_the_pool_does_not_matter(policy: Policy) -> None:
    pairs = random_pairs(9)
    forwards, backwards = ad.score_pairs(policy, pairs), ad.score_pairs(policy, pairs[::-1])
    assert forwards.logp_a == pytest.approx(backwards.logp_a[::-1], rel=1e-6)


def test_the_budget_halves_when_memory_runs_out(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = random_pairs(9)
    expected = ad.score_pairs(policy, pairs).logp_a
    sizes = []
    packed = activedpo.scoring._packed

    def tight(model: Policy, rows: list[Row], hidden: bool) -> object:
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return packed(model, rows, hidden)

    monkeypatch.setattr(activedpo.scoring, "_packed", tight)
    assert ad.score_pairs(policy, pairs).logp_a == pytest.approx(expected, rel=1e-6)
    assert max(sizes) > 2
    assert sizes[-1] <= 2


def test_a_row_that_never_fits_says_what_to_do(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(activedpo.scoring, "_packed", full)
    with pytest.raises(OutOfMemory, match="bfloat16"):
        ad.score_pairs(policy, random_pairs(3))


def test_another_error_is_not_taken_for_want_of_memory(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(activedpo.scoring, "_packed", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        ad.score_pairs(policy, random_pairs(3))


def test_progress_counts_pairs_over_both_passes(make_policy: MakePolicy) -> None:
    seen: list[tuple[int, int]] = []
    ad.score_pairs(
        make_policy(),
        random_pairs(6),
        reference=make_policy(seed=1),
        token_budget=60,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1] == (6, 6)
    assert len(seen) > 4


def test_a_pair_beyond_the_context_is_an_error(make_policy: MakePolicy) -> None:
    pairs = [ad.Pair("x", "a", "b"), ad.Pair("x" * 40, "a", "b")]
    with pytest.raises(ContextOverflow, match="pair 1 needs 42 tokens"):
        ad.score_pairs(make_policy(context=32), pairs)


def test_beta_is_positive(policy: Policy) -> None:
    with pytest.raises(ValueError, match="beta"):
        ad.score_pairs(policy, random_pairs(1), beta=0.0)


def test_the_mask_is_the_drawn_one() -> None:
    batch = collate([Row((1, 2, 3), ((4, 5, 6), (7, 8, 9, 10)))], 0, torch.device("cpu"))
    assert batch.positions[0].tolist() == [0, 1, 2, 3, 4, 3, 4, 5]
    assert batch.tokens[0].tolist() == [1, 2, 3, 4, 5, 7, 8, 9]
    assert batch.targets.tolist() == [4, 5, 6, 7, 8, 9, 10]
    assert batch.sources.tolist() == [2, 3, 4, 2, 5, 6, 7]
    drawn = """
        x.......
        xx......
        xxx.....
        xxxx....
        xxxxx...
        xxx..x..
        xxx..xx.
        xxx..xxx"""
    mask = block_mask(batch)[0]
    assert ["".join(".x"[int(seen)] for seen in row) for row in mask] == drawn.split()


def test_a_window_counts_positions_and_not_columns() -> None:
    batch = collate([Row((1, 2, 3), ((4, 5, 6), (7, 8, 9, 10)))], 0, torch.device("cpu"))
    last = block_mask(batch, window=3)[0, -1]  # b3 at position 5 sees positions 3 to 5
    assert last.nonzero().flatten().tolist() == [5, 6, 7]


def test_rows_in_one_line_do_not_see_each_other() -> None:
    rows = [Row((1, 2), ((3, 4), (5, 6))), Row((7,), ((8, 9), (1, 2)))]
    batch = collate(rows, 0, torch.device("cpu"), flat=True)
    drawn = """
        x.......
        xx......
        xxx.....
        xx.x....
        ....x...
        ....xx..
        ....x.x."""
    mask = block_mask(batch)[0, :7, :8]
    assert ["".join(".x"[int(seen)] for seen in row) for row in mask] == drawn.split()
    assert batch.tokens[0].tolist()[:8] == [1, 2, 3, 5, 7, 8, 1, 0]
    assert batch.positions[0].tolist()[:7] == [0, 1, 2, 2, 0, 1, 1]
    assert batch.sources.tolist() == [1, 2, 1, 3, 4, 5, 4, 6]


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """FlexAttention by its reference in plain operations: a GPU compiles it, tests need not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*flex_attention called without torch.compile.*")
        torch.compiler.set_stance("force_eager")
        yield
        torch.compiler.set_stance("default")


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("arch", ["llama", "qwen3", "mistral", "gemma2", "gemma3_text"])
def test_flex_attention_in_one_line_gives_the_same_numbers(
    uncompiled: None, make_policy: MakePolicy, arch: str, lora: bool
) -> None:
    policy = make_policy(arch=arch)
    if lora:
        policy = with_random_adapter(policy)
    pairs = random_pairs(9)
    assert can_flex(policy)
    policy.packs = policy.flex = True
    scores = ad.score_pairs(policy, pairs, token_budget=300)
    ours = np.stack([scores.logp_a, scores.logp_b], axis=1)
    assert ours == pytest.approx(one_at_a_time(policy, pairs), rel=1e-5)
    assert policy.base.config._attn_implementation != "flex_attention"  # only while it computes


def test_training_leaves_a_kernel_that_has_no_backward(
    uncompiled: None, make_policy: MakePolicy
) -> None:
    # FlexAttention has none on a CPU: the trial finds out, and the steps are the masked kernel's.
    policy = trainable_copy(make_policy(), lora=4, seed=0)
    policy.packs = policy.flex = True
    assert not flex_learns(policy)
    assert policy.flex, "a trial changes nothing"
    step = PackedStep(policy, StepSettings(beta=0.1))
    assert not policy.flex
    examples = [
        Example(i, None, Row(e.prompt, (e.a, e.b)), 1.0, 1.0, -9.0, -9.0)
        for i, e in enumerate(encode_pairs(policy, random_pairs(4)))
    ]
    assert np.isfinite(step(examples, 1e-3)["loss"])


@pytest.mark.parametrize("flat", [False, True])
def test_batches_keep_the_budget(flat: bool) -> None:
    rows = [Row((1,) * n, ((1,), (1,))) for n in (5, 60, 7, 30, 31, 2, 9)]
    batches = plan(rows, budget=64, flat=flat)
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    for batch in batches:
        widest = max(rows[i].length for i in batch)
        taken = sum(rows[i].length for i in batch) if flat else len(batch) * widest
        assert len(batch) == 1 or taken <= 64
