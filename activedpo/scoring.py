"""Log-probabilities, implicit rewards and margins of a pool of pairs.

One pass of the policy and one of the reference over packed rows (see `packing`); with LoRA both
are one loaded model, adapter on and off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from activedpo.attention import packed_attention
from activedpo.encoding import EncodedPair, check_ids, encode_pairs
from activedpo.errors import OutOfMemory, ran_out_of_memory
from activedpo.loading import Policy, load
from activedpo.packing import (
    Row,
    can_pack,
    collate,
    default_budget,
    logprobs,
    plain_logprobs,
    plan,
    sum_by_owner,
)
from activedpo.types import Pair, Scores

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True, slots=True)
class RowScores:
    """Summed log-probs of rows: `logp[i][k]` of completion k of row i; `hidden` alike, or None."""

    logp: list[np.ndarray]
    hidden: list[np.ndarray] | None


def score_pairs(
    policy: Policy,
    pairs: Sequence[Pair],
    reference: Policy | str | Path | None = None,
    beta: float = 0.1,
    *,
    hidden: bool = False,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Scores pairs under a policy and its reference.

    Args:
        policy: π_θ.
        pairs: what to score; ids kept from generation are used as they are.
        reference: π_0. None: the adapter switched off, or, without an adapter, the policy as it
            was loaded (margins are then 0 until it was trained).
        beta: β of the implicit reward β log(π_θ / π_0) (arXiv 2305.18290, eq. 5), > 0.
        hidden: also the mean last hidden state of each completion.
        token_budget: tokens in a batch; halves by itself when memory runs out.
        progress: called with (pairs done, pairs in all); a pair counts once both passes had it.

    Raises:
        ContextOverflow, EmptyPrompt, EmptyCompletion, InvalidPrompt, TokenizerMismatch: each names
            the pair. OutOfMemory: not even one row fits.
    """
    if not beta > 0:
        raise ValueError(f"beta must be positive, not {beta}")
    encoded = encode_pairs(policy, pairs)
    rows = pair_rows(encoded)
    base = resolve_reference(policy, reference, encoded)
    same = base.is_policy(policy)
    report = _report(progress, len(pairs), 1 if same else 2)
    ours = score_rows(policy, rows, hidden=hidden, budget=token_budget, progress=report(0))
    theirs = ours.logp
    if not same:
        with base.active() as model:
            theirs = score_rows(model, rows, budget=token_budget, progress=report(1)).logp
    return _scores(pairs, encoded, ours, theirs, beta)


def pair_rows(encoded: Sequence[EncodedPair]) -> list[Row]:
    """One row a pair: the prompt once, both completions behind it."""
    return [Row(pair.prompt, (pair.a, pair.b)) for pair in encoded]


@dataclass(frozen=True, slots=True)
class Reference:
    """π_0: a policy, computed with its adapter off where `adapter_off`."""

    policy: Policy
    adapter_off: bool = False

    def is_policy(self, policy: Policy) -> bool:
        """True where reference and policy are the same computation: one pass is enough."""
        return self.policy is policy and not self.adapter_off

    @contextlib.contextmanager
    def active(self) -> Iterator[Policy]:
        """Inside, the yielded policy computes as the reference."""
        with self.policy.adapter_off() if self.adapter_off else contextlib.nullcontext():
            yield self.policy


def resolve_reference(
    policy: Policy, reference: Policy | str | Path | None, encoded: Sequence[EncodedPair] = ()
) -> Reference:
    """What `reference` means for this policy; `encoded` is checked against its vocabulary."""
    if reference is None and policy.initial is None and policy.has_adapter:
        return Reference(policy, adapter_off=True)
    if reference is None:
        reference = policy.initial or policy
    elif not isinstance(reference, Policy):
        reference = load(reference, device=policy.device, dtype=policy.dtype)
    if reference is not policy:
        for pair in encoded:
            check_ids(reference, pair.prompt + pair.a + pair.b)
    return Reference(reference)


def score_rows(
    policy: Policy,
    rows: Sequence[Row],
    *,
    hidden: bool = False,
    budget: int | None = None,
    progress: Progress | None = None,
) -> RowScores:
    """Summed log-probabilities of every completion of every row.

    Returns:
        float64 sums; `hidden`: float32 (completions, d) a row, the mean over its tokens.
    """
    packs = can_pack(policy) if rows else True
    budget = budget or default_budget(policy.device)
    logp: list[np.ndarray] = [np.empty(0)] * len(rows)
    pooled: list[np.ndarray] = [np.empty(0)] * len(rows)
    queue = plan(rows, budget if packs else 1, policy.flex)
    done = 0
    with _evaluating(policy), packed_attention(policy):
        while queue:
            indices = queue.pop(0)
            chosen = [rows[i] for i in indices]
            try:
                results = (
                    _packed(policy, chosen, hidden) if packs else _plain(policy, chosen[0], hidden)
                )
            except RuntimeError as error:
                queue[:0] = _halved(indices, error)
                continue
            for index, (sums, means) in zip(indices, results, strict=True):
                logp[index], pooled[index] = sums, means
            done += len(indices)
            if progress:
                progress(done, len(rows))
    return RowScores(logp, pooled if hidden else None)


@contextlib.contextmanager
def _evaluating(policy: Policy) -> Iterator[None]:
    """No gradient and no dropout inside; the model's mode is as before afterwards."""
    training = policy.model.training
    policy.model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        policy.model.train(training)


def _packed(
    policy: Policy, rows: Sequence[Row], hidden: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    batch = collate(rows, int(policy.tokenizer.pad_token_id or 0), policy.device, policy.flex)
    values, states = logprobs(policy, batch)
    sums = sum_by_owner(values.double(), batch).cpu().numpy()
    means = np.zeros((batch.completions, 0), dtype=np.float32)
    if hidden:
        total = states.new_zeros(batch.completions, states.shape[1], dtype=torch.float32)
        total.index_add_(0, batch.owners, states.float())
        counts = torch.bincount(batch.owners, minlength=batch.completions)
        means = (total / counts[:, None]).cpu().numpy()
    ends = np.cumsum([len(row.completions) for row in rows])[:-1]
    return list(zip(np.split(sums, ends), np.split(means, ends), strict=True))


def _plain(policy: Policy, row: Row, hidden: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """One sequence at a time, for architectures that cannot take the mask."""
    sums = [float(plain_logprobs(policy, row.prompt, c).double().sum()) for c in row.completions]
    means = [_plain_hidden(policy, row, c) for c in row.completions] if hidden else []
    return [(np.array(sums), np.array(means, dtype=np.float32))]


def _plain_hidden(policy: Policy, row: Row, completion: tuple[int, ...]) -> np.ndarray:
    ids = torch.tensor([[*row.prompt, *completion[:-1]]], device=policy.device)
    states = policy.base.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
    mean: np.ndarray = states[len(row.prompt) - 1 :].float().mean(0).cpu().numpy()
    return mean


def _halved(indices: list[int], error: BaseException) -> list[list[int]]:
    """Two halves of a batch that ran out of memory; another error, or one row, is raised."""
    if not ran_out_of_memory(error):
        raise error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(indices) == 1:
        raise OutOfMemory(
            f"row {indices[0]} alone does not fit the memory: shorten prompts and completions, "
            "use dtype='bfloat16' or a smaller model"
        ) from error
    middle = len(indices) // 2
    return [indices[:middle], indices[middle:]]


def _report(progress: Progress | None, total: int, passes: int) -> Callable[[int], Progress | None]:
    """Progress over both passes, in pairs."""

    def of_pass(number: int) -> Progress | None:
        if progress is None:
            return None
        return lambda done, _: progress((number * total + done) // passes, total)

    return of_pass


def _scores(
    pairs: Sequence[Pair],
    encoded: Sequence[EncodedPair],
    ours: RowScores,
    theirs: list[np.ndarray],
    beta: float,
) -> Scores:
    policy_logp = np.array(ours.logp, dtype=np.float64).reshape(-1, 2)
    ref_logp = np.array(theirs, dtype=np.float64).reshape(-1, 2)
    rewards = beta * (policy_logp - ref_logp)
    return Scores(
        logp_a=policy_logp[:, 0].copy(),
        logp_b=policy_logp[:, 1].copy(),
        ref_logp_a=ref_logp[:, 0].copy(),
        ref_logp_b=ref_logp[:, 1].copy(),
        margin=rewards[:, 0] - rewards[:, 1],
        tokens_a=np.array([len(pair.a) for pair in encoded], dtype=np.int64),
        tokens_b=np.array([len(pair.b) for pair in encoded], dtype=np.int64),
        equal=np.array([pair.equal for pair in pairs], dtype=bool),
        hidden=None if ours.hidden is None else np.array(ours.hidden, dtype=np.float32),
    )
