"""A causal language model of this machine as a judge, through the templates of the LLM judge.

Nothing is sampled: the reply is begun with "[[", and the probabilities of what would follow are
read. Small models lean to one place, so both orders are asked and their log-odds averaged, in
which such a lean cancels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from activedpo.encoding import encode_prompt
from activedpo.errors import ActiveDPOError
from activedpo.loading import Policy, load
from activedpo.oracles import logprobs, parsing, templates
from activedpo.types import Prompt, Tokens

Triple = tuple[Prompt, str, str]
_BEGUN = "[["
MOST_TOKENS = 8_192
"""In one forward pass, padding included."""


class LocalJudge:
    """p(a is better) from the next-token probabilities of "A" and "B".

    Args:
        on_disagreement: of the orders: "average" their log-odds all the same, take a "tie", or
            "abstain".
        guard: delimiters around the texts that are judged, and words that explain them.
    """

    def __init__(
        self,
        model: str | Policy,
        template: str = "helpfulness",
        criteria: str | None = None,
        both_orders: bool = True,
        on_disagreement: str = "average",
        guard: bool = True,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        if on_disagreement not in ("average", "tie", "abstain"):
            raise ValueError("on_disagreement must be 'average', 'tie' or 'abstain'")
        self.criteria = templates.criteria_of(template, criteria)
        self.policy = (
            model if isinstance(model, Policy) else load(model, device=device, dtype=dtype)
        )
        self.guard = guard
        self.both_orders, self.on_disagreement = both_orders, on_disagreement
        self._a, self._b = (self._begun(_BEGUN + verdict)[-1] for verdict in "AB")
        self._prefix = self._begun(_BEGUN)

    def __call__(self, prompt: Prompt, completion_a: str, completion_b: str, /) -> float | None:
        return self.judge([(prompt, completion_a, completion_b)])[0]

    def judge(self, pairs: Sequence[Triple]) -> list[float | None]:
        """p of each (prompt, a, b); None where it abstains or the texts are too long for it."""
        shown = self.chances(pairs)
        if not self.both_orders:
            return shown
        swapped = self.chances([(prompt, b, a) for prompt, a, b in pairs])
        return [self._combined(x, y) for x, y in zip(shown, swapped, strict=True)]

    def _combined(self, shown: float | None, swapped: float | None) -> float | None:
        if shown is None or swapped is None:
            return None
        if self.on_disagreement != "average":
            p = parsing.both_orders(shown, swapped, self.on_disagreement)
            if p is None or p == 0.5:
                return p
        return logprobs.both_orders(shown, swapped)

    @torch.inference_mode()
    def chances(self, pairs: Sequence[Triple]) -> list[float | None]:
        """p("A") / (p("A") + p("B")) for each pair with its first completion shown as A."""
        encoded = [self._encode(*pair) for pair in pairs]
        fitting = [i for i, ids in enumerate(encoded) if ids is not None]
        fitting.sort(key=lambda i: len(encoded[i] or ()))
        found: list[float | None] = [None] * len(pairs)
        for part in _parts(fitting, [len(ids or ()) for ids in encoded]):
            for i, p in zip(part, self._first([encoded[i] or () for i in part]), strict=True):
                found[i] = p
        return found

    def _first(self, rows: Sequence[Tokens]) -> list[float]:
        policy, longest = self.policy, max(map(len, rows))
        pad = policy.tokenizer.pad_token_id or 0
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        out = policy.model(input_ids=ids.to(policy.device), attention_mask=mask.to(policy.device))
        last = torch.tensor([len(row) - 1 for row in rows], device=policy.device)
        logits = out.logits[torch.arange(len(rows), device=policy.device), last].double()
        return torch.sigmoid(logits[:, self._a] - logits[:, self._b]).tolist()

    def _encode(self, prompt: Prompt, first: str, second: str) -> Tokens | None:
        # a fixed mark: the same pair gets the same probability every time
        asked = templates.messages(
            prompt,
            first,
            second,
            self.criteria,
            structured=False,
            guard=self.guard,
            mark="7c1e5a90",
        )
        question: Prompt = asked
        if not self.policy.chat:
            question = "\n\n".join(turn["content"] for turn in asked) + "\n\nVerdict: "
        try:
            ids = (*encode_prompt(self.policy, question), *self._prefix)
        except ActiveDPOError:
            ids = (*encode_prompt(self.policy, _one_turn(asked)), *self._prefix)
        return ids if len(ids) <= self.policy.context else None

    def _begun(self, text: str) -> Tokens:
        return tuple(self.policy.tokenizer(text, add_special_tokens=False)["input_ids"])


def _one_turn(asked: list[dict[str, str]]) -> Prompt:
    """For templates that know no system turn."""
    return [{"role": "user", "content": "\n\n".join(turn["content"] for turn in asked)}]


def _parts(order: list[int], lengths: list[int]) -> list[list[int]]:
    """Cuts a sorted order so that rows times the longest stays within `MOST_TOKENS`."""
    parts: list[list[int]] = []
    for i in order:
        if parts and (len(parts[-1]) + 1) * lengths[i] <= MOST_TOKENS:
            parts[-1].append(i)
        else:
            parts.append([i])
    return parts
