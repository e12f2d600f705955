"""The one place that turns a prompt and a completion into token ids.

Text prompt:   tokenizer(prompt) as it comes · completion, no special tokens · end token
Chat messages: template with its generation prompt · completion, no special tokens · end-of-turn

The end token follows only a finished completion. Prompt and completion are tokenised apart, as
they were generated; ids that generation kept are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from activedpo.errors import (
    ContextOverflow,
    EmptyCompletion,
    EmptyPrompt,
    InvalidPrompt,
    TokenizerMismatch,
)
from activedpo.loading import Policy
from activedpo.types import Message, Pair, Prompt, Tokens

_SENTINEL = "completion"


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Token ids of a pair; `a` and `b` carry the end token where the completion finished."""

    prompt: Tokens
    a: Tokens
    b: Tokens

    @property
    def longest(self) -> int:
        """Tokens of the longer of the two sequences."""
        return len(self.prompt) + max(len(self.a), len(self.b))


def encode_prompt(policy: Policy, prompt: Prompt) -> Tokens:
    """Token ids of a prompt.

    Raises:
        EmptyPrompt: not one token. InvalidPrompt: messages that the template refuses, or messages
            for a model without template.
    """
    if isinstance(prompt, str):
        tokens = tuple(policy.tokenizer(prompt)["input_ids"])
    else:
        tokens = tuple(_templated(policy, [dict(message) for message in prompt], True))
    if not tokens:
        raise EmptyPrompt("the prompt has no token: write at least one character")
    return tokens


def end_token(policy: Policy, prompt: Prompt) -> int:
    """The id that ends a completion: end of text, or end of turn behind chat messages."""
    if isinstance(prompt, str):
        return int(policy.tokenizer.eos_token_id)
    return end_of_turn(policy)


def end_of_turn(policy: Policy) -> int:
    """The first special token that the chat template puts behind an assistant's message.

    Found by rendering a message and looking behind its text, so it holds for any template: ChatML
    gives `<|im_end|>` and never the newline after it. A template that ends a turn with no special
    token leaves the tokenizer's end token.
    """
    turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _SENTINEL}]
    text = policy.tokenizer.apply_chat_template(turn, tokenize=False)
    tail = text.rpartition(_SENTINEL)[2]
    special = special_ids(policy)
    for token in policy.tokenizer(tail, add_special_tokens=False)["input_ids"]:
        if token in special:
            return int(token)
    return int(policy.tokenizer.eos_token_id)


def special_ids(policy: Policy) -> set[int]:
    """Ids that are no text: the named special tokens and added ones marked special."""
    added = policy.tokenizer.added_tokens_decoder
    return set(policy.tokenizer.all_special_ids) | {i for i, t in added.items() if t.special}


def encode_completion(policy: Policy, text: str, tokens: Tokens | None = None) -> Tokens:
    """Token ids of a completion without its end token; given ids are taken as they are.

    Raises:
        EmptyCompletion: no text, and no ids that say it was generated so.
    """
    if tokens is not None:
        return tokens
    encoded = tuple(policy.tokenizer(text, add_special_tokens=False)["input_ids"])
    if not encoded:
        raise EmptyCompletion("a completion is empty: drop the pair or write a text")
    return encoded


def encode_pair(policy: Policy, pair: Pair, index: int = 0) -> EncodedPair:
    """Token ids of a pair by the rules above.

    Args:
        index: named in error messages together with `pair.id`.

    Raises:
        ContextOverflow, EmptyPrompt, EmptyCompletion, InvalidPrompt, TokenizerMismatch: each names
            the pair.
    """
    try:
        prompt = pair.prompt_tokens or encode_prompt(policy, pair.prompt)
        end = (end_token(policy, pair.prompt),)
        a = encode_completion(policy, pair.completion_a, pair.tokens_a)
        b = encode_completion(policy, pair.completion_b, pair.tokens_b)
        encoded = EncodedPair(prompt, a + end * pair.finished_a, b + end * pair.finished_b)
        if not encoded.a or not encoded.b:
            raise EmptyCompletion("a completion has no token at all: drop the pair")
        check_ids(policy, encoded.prompt + encoded.a + encoded.b)
    except (EmptyPrompt, EmptyCompletion, InvalidPrompt, TokenizerMismatch) as error:
        raise type(error)(f"pair {_named(index, pair)}: {error}") from error
    if encoded.longest > policy.context:
        raise ContextOverflow(index, encoded.longest, policy.context)
    return encoded


def encode_pairs(policy: Policy, pairs: Sequence[Pair]) -> list[EncodedPair]:
    """`encode_pair` for every pair, in order."""
    return [encode_pair(policy, pair, index) for index, pair in enumerate(pairs)]


def check_ids(policy: Policy, tokens: Tokens) -> None:
    """Raises TokenizerMismatch where an id lies beyond the model's embedding."""
    if max(tokens) >= policy.vocabulary or min(tokens) < 0:
        raise TokenizerMismatch(
            f"token id {max(tokens)} lies beyond the embedding of {policy.name!r} "
            f"({policy.vocabulary} rows): was the pair generated by another model?"
        )


def _named(index: int, pair: Pair) -> str:
    return f"{index} (id {pair.id})" if pair.id else str(index)


def _templated(policy: Policy, messages: list[Message], open_turn: bool) -> list[int]:
    if not policy.chat:
        raise InvalidPrompt(
            f"{policy.name!r} has no chat template: give the prompt as text, not as messages"
        )
    if not messages or not all({"role", "content"} <= set(message) for message in messages):
        raise InvalidPrompt("chat messages must be a non-empty list of {role, content}")
    try:
        encoded: Any = policy.tokenizer.apply_chat_template(
            messages, add_generation_prompt=open_turn, tokenize=True, return_dict=True
        )
    except TemplateError as error:
        raise InvalidPrompt(f"the chat template refuses these messages: {error}") from error
    return list(encoded["input_ids"])
