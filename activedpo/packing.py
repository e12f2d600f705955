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
logits are made only where a completion token is predicted. `attention` has the mask for each kind
of processor.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from activedpo.attention import Batch, attention_masks, packed_attention
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


def default_budget(device: torch.device) -> int:
    """Tokens in a batch: enough to keep the processor busy, little enough for its memory."""
    return 16_384 if device.type == "cuda" else 1_024


def plan(rows: Sequence[Row], budget: int, flat: bool = False) -> list[list[int]]:
    """Indices of the rows, longest first, cut into batches.

    Args:
        budget: most tokens of a batch: rows × longest, or their sum where they lie `flat`.
    """
    order = sorted(range(len(rows)), key=lambda i: (-rows[i].length, i))
    batches: list[list[int]] = []
    taken = room = 0
    for index in order:
        size = rows[index].length
        if batches and taken + (size if flat else room) <= budget:
            batches[-1].append(index)
            taken += size if flat else room
        else:
            batches.append([index])
            taken = room = size
    return batches


def _aligned(width: int) -> int:
    """The width that the attention kernels like: 192 columns take half the time of 190 or 191.

    A multiple of 32 where that adds no more than 5 % of padding: everything else pays for padding.
    """
    wide = -(-width // 32) * 32
    return wide if wide <= 1.05 * width else width


def _flat_width(total: int) -> int:
    """A power of two: a compiled kernel meets few widths."""
    return max(128, 1 << (total - 1).bit_length())


def collate(rows: Sequence[Row], pad: int, device: torch.device, flat: bool = False) -> Batch:
    """Builds the tensors of a batch.

    Args:
        flat: all rows in one line, instead of a line each padded to the longest.
    """
    lengths = [row.length for row in rows]
    width = _flat_width(sum(lengths)) if flat else _aligned(max(lengths))
    tokens = torch.full((1 if flat else len(rows), width), pad)
    positions = torch.zeros_like(tokens)
    segments = torch.full_like(tokens, -1)
    belongs = torch.full_like(tokens, -1) if flat else torch.arange(len(rows))[:, None]
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    count = start = 0
    for number, row in enumerate(rows):
        line = 0 if flat else number
        last = len(row.prompt) - 1
        at = start + len(row.prompt)
        ids = list(row.prompt)
        where = list(range(len(row.prompt)))
        part = [0] * len(row.prompt)
        for k, completion in enumerate(row.completions, start=1):
            fed = len(completion) - 1
            ids.extend(completion[:-1])
            where.extend(range(last + 1, last + 1 + fed))
            part.extend([k] * fed)
            sources.append(line * width + start + last)
            sources.extend(range(line * width + at, line * width + at + fed))
            targets.extend(completion)
            owners.extend([count] * len(completion))
            at += fed
            count += 1
        tokens[line, start:at] = torch.tensor(ids)
        positions[line, start:at] = torch.tensor(where)
        segments[line, start:at] = torch.tensor(part)
        if flat:
            belongs[0, start:at] = number
            start = at
    return Batch(
        tokens=tokens.to(device),
        positions=positions.to(device),
        segments=segments.to(device),
        rows=belongs.expand_as(tokens).to(device),
        sources=torch.tensor(sources, device=device),
        targets=torch.tensor(targets, device=device),
        owners=torch.tensor(owners, device=device),
        completions=count,
    )


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
    """Whether packed rows give this architecture's own numbers; tried once, on two small rows.

    Recurrent models, ALiBi, heads with a scale of their own and whatever else does not fit shows
    up as an error or as a difference, so no list of architectures has to be kept. Says so once.
    On a GPU, FlexAttention over one long line is tried first.
    """
    if policy.packs is None:
        policy.flex = policy.device.type == "cuda" and can_flex(policy)
        policy.packs = policy.flex or _tried(policy)
        if not policy.packs:
            warnings.warn(
                f"{policy.base.config.model_type}: this architecture does not take the block mask; "
                "scoring one sequence at a time, which is slower and gives the same numbers",
                stacklevel=2,
            )
    return policy.packs


def can_flex(policy: Policy) -> bool:
    """Whether FlexAttention runs here and gives this architecture's own numbers."""
    policy.flex = True
    try:
        return _tried(policy)
    finally:
        policy.flex = False


def flex_learns(policy: Policy) -> bool:
    """Whether FlexAttention's backward runs here and gives the masked kernel's gradient."""
    weight = policy.base.get_input_embeddings().weight
    asked, usual = weight.requires_grad, policy.flex
    weight.requires_grad_(True)
    found = []
    try:
        for policy.flex in (True, False):
            with packed_attention(policy), torch.enable_grad():
                batch = collate(_trial_rows(policy), 0, policy.device, policy.flex)
                total = logprobs(policy, batch)[0].sum()
                found.append(torch.autograd.grad(total, weight)[0].double())
    except (TypeError, ValueError, RuntimeError):
        return False
    finally:
        policy.flex = usual
        weight.requires_grad_(asked)
    off = (found[0] - found[1]).norm() / found[1].norm()
    return bool(off <= _tolerance(policy))


def _trial_rows(policy: Policy) -> list[Row]:
    ids = [(7 * i * i + 3 * i + 1) % policy.vocabulary for i in range(18)]
    return [
        Row(tuple(ids[:6]), (tuple(ids[6:11]), tuple(ids[11:]))),
        Row(tuple(ids[3:5]), (tuple(ids[5:9]), tuple(ids[9:12]))),
    ]


def _tolerance(policy: Policy) -> float:
    return 1e-3 if policy.dtype in (torch.float32, torch.float64) else 0.1


def _tried(policy: Policy) -> bool:
    rows = _trial_rows(policy)
    training = policy.model.training
    policy.model.eval()
    try:
        with torch.no_grad():
            with packed_attention(policy):
                batch = collate(rows, 0, policy.device, policy.flex)
                packed = logprobs(policy, batch)[0].double()
            plain = [plain_logprobs(policy, r.prompt, c) for r in rows for c in r.completions]
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ImportError):
        return False
    finally:
        policy.model.train(training)
    expected = torch.cat(plain).double()
    return bool((packed - expected).abs().max() <= _tolerance(policy) * (1 + expected.abs().max()))
