"""Several completions behind one prompt in one row: built, batched and run.

A row holds the prompt once and its completions behind it. Positions restart at the end of the
prompt, and the mask hides the completions from each other, so each token sees exactly what it
would see in a sequence of its own:

    tokens     p0 p1 p2 | a1 a2 | b1 b2 b3        (the last token of a completion predicts nothing
    positions   0  1  2 |  3  4 |  3  4  5         and is not fed)

                keys    p0 p1 p2 a1 a2 b1 b2 b3
    queries p0           x
            p1           x  x
            p2           x  x  x                   → predicts a1 and b1
            a1           x  x  x  x                → a2
            a2           x  x  x  x  x             → a3, the end token
            b1           x  x  x        x          → b2
            b2           x  x  x        x  x       → b3
            b3           x  x  x        x  x  x    → b4, the end token

Rows are sorted by length and put into batches of at most a budget of tokens, so little is padded;
logits are made only where a completion token is predicted.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from activedpo.head import token_logprobs
from activedpo.loading import Policy
from activedpo.types import Tokens


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and the completions behind it, end tokens included."""

    prompt: Tokens
    completions: tuple[Tokens, ...]

    @property
    def length(self) -> int:
        """Tokens that are fed: all but the last of each completion."""
        return len(self.prompt) + sum(len(c) - 1 for c in self.completions)

    @property
    def predicted(self) -> int:
        """Tokens whose log-probability is asked for."""
        return sum(len(c) for c in self.completions)


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of some rows, padded to the longest.

    Args:
        tokens, positions: (rows, length) int64.
        segments: (rows, length): 0 prompt, k the k-th completion, −1 padding.
        sources: (n,) flat index (row · length + column) of the position that predicts a target.
        targets: (n,) the predicted ids.
        owners: (n,) which completion of the batch a target belongs to, counted through.
        completions: how many completions there are.
    """

    tokens: Tensor
    positions: Tensor
    segments: Tensor
    sources: Tensor
    targets: Tensor
    owners: Tensor
    completions: int


def default_budget(device: torch.device) -> int:
    """Tokens in a batch: enough to keep the processor busy, little enough for its memory."""
    return 16_384 if device.type == "cuda" else 1_024


def plan(rows: Sequence[Row], budget: int) -> list[list[int]]:
    """Indices of the rows, longest first, cut into batches of rows × longest ≤ budget."""
    order = sorted(range(len(rows)), key=lambda i: (-rows[i].length, i))
    batches: list[list[int]] = []
    widest = 0
    for index in order:
        if batches and (len(batches[-1]) + 1) * widest <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
            widest = rows[index].length
    return batches


def _aligned(width: int) -> int:
    """The width that the attention kernels like: 192 columns take half the time of 190 or 191.

    A multiple of 32 where that adds no more than 5 % of padding, else of 8.
    """
    wide = -(-width // 32) * 32
    return wide if wide <= 1.05 * width else -(-width // 8) * 8


def collate(rows: Sequence[Row], pad: int, device: torch.device) -> Batch:
    """Builds the tensors of a batch."""
    width = _aligned(max(row.length for row in rows))
    tokens = torch.full((len(rows), width), pad)
    positions = torch.zeros_like(tokens)
    segments = torch.full_like(tokens, -1)
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    count = 0
    for number, row in enumerate(rows):
        last = len(row.prompt) - 1
        at = len(row.prompt)
        flat = list(row.prompt)
        where = list(range(at))
        part = [0] * at
        for k, completion in enumerate(row.completions, start=1):
            fed = len(completion) - 1
            flat.extend(completion[:-1])
            where.extend(range(last + 1, last + 1 + fed))
            part.extend([k] * fed)
            sources.append(number * width + last)
            sources.extend(range(number * width + at, number * width + at + fed))
            targets.extend(completion)
            owners.extend([count] * len(completion))
            at += fed
            count += 1
        tokens[number, :at] = torch.tensor(flat)
        positions[number, :at] = torch.tensor(where)
        segments[number, :at] = torch.tensor(part)
    return Batch(
        tokens=tokens.to(device),
        positions=positions.to(device),
        segments=segments.to(device),
        sources=torch.tensor(sources, device=device),
        targets=torch.tensor(targets, device=device),
        owners=torch.tensor(owners, device=device),
        completions=count,
    )


def block_mask(batch: Batch, window: int | None = None) -> Tensor:
    """(rows, length, length) bool: which key (last axis) each query may see.

    Args:
        window: a sliding window sees only keys less than `window` positions back.
    """
    length = batch.tokens.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=batch.tokens.device).tril()
    keys, queries = batch.segments[:, None, :], batch.segments[:, :, None]
    allowed = causal & ((keys == 0) | (keys == queries))
    if window is not None:
        allowed &= batch.positions[:, :, None] - batch.positions[:, None, :] < window
    return allowed


def attention_masks(policy: Policy, batch: Batch) -> Tensor | dict[str, Tensor]:
    """The mask in the form that the architecture takes: one, or one per kind of layer."""
    config = policy.base.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    if kinds:
        windows = {"full_attention": None, "sliding_attention": window}
        return {kind: _additive(block_mask(batch, windows[kind]), policy.dtype) for kind in kinds}
    return _additive(block_mask(batch, window), policy.dtype)


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    # Made once for all layers: scaled_dot_product_attention would turn a boolean into it at each.
    lowest = torch.finfo(dtype).min
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, lowest)[:, None]


def hidden_states(policy: Policy, batch: Batch) -> Tensor:
    """Last hidden states, (rows · length, d), after the final norm."""
    body = policy.base.base_model
    output = body(
        input_ids=batch.tokens,
        attention_mask=attention_masks(policy, batch),
        position_ids=batch.positions,
        use_cache=False,
    )
    return output.last_hidden_state.flatten(0, 1)  # type: ignore[no-any-return]


def logprobs(policy: Policy, batch: Batch) -> tuple[Tensor, Tensor]:
    """Log-probability of every target of a batch.

    Returns:
        (n,) float32 log π(target | what it may see), and (n, d) hidden states that predict them.
    """
    chosen = hidden_states(policy, batch).index_select(0, batch.sources)
    head: Any = policy.base.get_output_embeddings()
    softcap = getattr(policy.base.config.get_text_config(), "final_logit_softcapping", None)
    bias = getattr(head, "bias", None)
    return token_logprobs(chosen, head.weight, bias, batch.targets, softcap), chosen


def sum_by_owner(values: Tensor, batch: Batch) -> Tensor:
    """Sums a value per target over each completion: (completions,)."""
    total = values.new_zeros(batch.completions)
    return total.index_add(0, batch.owners, values)


def plain_logprobs(policy: Policy, prompt: Tokens, completion: Tokens) -> Tensor:
    """The same by the plain way: one sequence, full logits, log-softmax in float32.

    Oracle of the tests, and the path of architectures that cannot take the mask.

    Returns:
        (len(completion),) log π(y_t | x, y_<t).
    """
    ids = torch.tensor([[*prompt, *completion]], device=policy.device)
    logits = policy.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    wide = logits if logits.dtype == torch.float64 else logits.float()
    chosen = torch.log_softmax(wide, dim=-1)
    return chosen.gather(1, ids[0, len(prompt) :, None]).squeeze(1)


def can_pack(policy: Policy) -> bool:
    """Whether packed rows give this architecture's own numbers; tried once, on a small row.

    Recurrent models, ALiBi, heads with a scale of their own and whatever else does not fit shows
    up as an error or as a difference, so no list of architectures has to be kept. Says so once.
    """
    if policy.packs is None:
        policy.packs = _tried(policy)
        if not policy.packs:
            warnings.warn(
                f"{policy.base.config.model_type}: this architecture does not take the block mask; "
                "scoring one sequence at a time, which is slower and gives the same numbers",
                stacklevel=2,
            )
    return policy.packs


def _tried(policy: Policy) -> bool:
    size = policy.vocabulary
    ids = [(7 * i * i + 3 * i + 1) % size for i in range(18)]
    row = Row(tuple(ids[:6]), (tuple(ids[6:11]), tuple(ids[11:])))
    tolerance = 1e-3 if policy.dtype in (torch.float32, torch.float64) else 0.1
    training = policy.model.training
    policy.model.eval()
    try:
        with torch.no_grad():
            batch = collate([row], 0, policy.device)
            packed = logprobs(policy, batch)[0].double()
            plain = [plain_logprobs(policy, row.prompt, c).double() for c in row.completions]
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, IndexError):
        return False
    finally:
        policy.model.train(training)
    expected = torch.cat(plain)
    return bool((packed - expected).abs().max() <= tolerance * (1 + expected.abs().max()))
