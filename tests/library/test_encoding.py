"""The token rules, one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from activedpo import Pair
from activedpo.encoding import encode_pair, encode_prompt, end_of_turn
from activedpo.errors import (
    ContextOverflow,
    EmptyCompletion,
    EmptyPrompt,
    InvalidPrompt,
    TokenizerMismatch,
)
from activedpo.loading import Policy
from tests.library.conftest import as_messages

MakePolicy = Callable[..., Policy]


def test_text_is_prompt_completion_end(policy: Policy) -> None:
    ids = policy.tokenizer
    pair = encode_pair(policy, Pair("ab", "cd", "e"))
    assert pair.prompt == tuple(ids("ab")["input_ids"])
    assert pair.a == (*ids("cd")["input_ids"], ids.eos_token_id)
    assert pair.b == (*ids("e")["input_ids"], ids.eos_token_id)


def test_a_tokenizer_that_adds_bos_adds_it_to_the_prompt_only(policy: Policy) -> None:
    from tokenizers.processors import TemplateProcessing

    bos = policy.tokenizer.convert_tokens_to_ids("<|im_start|>")
    policy.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)]
    )
    pair = encode_pair(policy, Pair("ab", "cd", "e"))
    assert pair.prompt[0] == bos
    assert bos not in pair.a + pair.b


def test_chat_ends_with_the_end_of_turn_and_no_newline(policy: Policy) -> None:
    pair = encode_pair(policy, Pair(as_messages("hi"), "cd", "e"))
    text = policy.tokenizer.decode(list(pair.prompt + pair.a))
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\ncd<|im_end|>"


def test_the_end_of_turn_may_be_another_token_than_the_end_of_text(policy: Policy) -> None:
    policy.tokenizer.eos_token = "<pad>"
    im_end = policy.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end_of_turn(policy) == im_end
    assert encode_pair(policy, Pair("ab", "c", "d")).a[-1] == policy.tokenizer.eos_token_id
    assert encode_pair(policy, Pair(as_messages("ab"), "c", "d")).a[-1] == im_end


def test_a_cut_completion_has_no_end_token(policy: Policy) -> None:
    pair = encode_pair(policy, Pair("ab", "cd", "ef", finished_a=False))
    assert pair.a == tuple(policy.tokenizer("cd")["input_ids"])
    assert pair.b[-1] == policy.tokenizer.eos_token_id


def test_prompt_and_completion_are_tokenised_apart(policy: Policy) -> None:
    # A merge across the boundary would swallow it: with "ab" one token, "a" + "b" stay two.
    core = policy.tokenizer.backend_tokenizer
    core.add_tokens(["ab"])
    pair = encode_pair(policy, Pair("xa", "b", "c", finished_a=False))
    assert len(pair.prompt) == 2
    assert len(pair.a) == 1


def test_generated_ids_are_taken_as_they_are(policy: Policy) -> None:
    pair = encode_pair(policy, Pair("ab", "text", "c", tokens_a=(7, 8), prompt_tokens=(9,)))
    assert pair.prompt == (9,)
    assert pair.a == (7, 8, policy.tokenizer.eos_token_id)


def test_an_answer_that_ended_at_once_is_its_end_token(policy: Policy) -> None:
    pair = encode_pair(policy, Pair("ab", "", "c", tokens_a=()))
    assert pair.a == (policy.tokenizer.eos_token_id,)


def test_an_empty_completion_is_refused_by_name(policy: Policy) -> None:
    with pytest.raises(EmptyCompletion, match=r"pair 3 \(id k\)"):
        encode_pair(policy, Pair("ab", "", "c", id="k"), index=3)
    with pytest.raises(EmptyCompletion, match="no token at all"):
        encode_pair(policy, Pair("ab", "", "c", tokens_a=(), finished_a=False))


def test_an_empty_prompt_is_refused(policy: Policy) -> None:
    with pytest.raises(EmptyPrompt, match="pair 0"):
        encode_pair(policy, Pair("", "a", "b"))


def test_a_pair_beyond_the_context_is_named(make_policy: MakePolicy) -> None:
    policy = make_policy(context=32)
    encode_pair(policy, Pair("x" * 20, "a" * 11, "b"))
    with pytest.raises(ContextOverflow) as error:
        encode_pair(policy, Pair("x" * 20, "a" * 12, "b"), index=5)
    assert (error.value.index, error.value.tokens, error.value.context) == (5, 33, 32)


def test_an_id_beyond_the_embedding_is_refused(policy: Policy) -> None:
    with pytest.raises(TokenizerMismatch, match=r"pair 0.*999"):
        encode_pair(policy, Pair("ab", "c", "d", tokens_a=(999,)))


def test_messages_need_a_template(make_policy: MakePolicy) -> None:
    with pytest.raises(InvalidPrompt, match="no chat template"):
        encode_prompt(make_policy(chat=False), as_messages("hi"))


@pytest.mark.parametrize("messages", [[], [{"role": "user"}]])
def test_messages_need_role_and_content(policy: Policy, messages: list[dict[str, str]]) -> None:
    with pytest.raises(InvalidPrompt, match="role, content"):
        encode_prompt(policy, messages)


def test_a_template_that_refuses_says_why(policy: Policy) -> None:
    policy.tokenizer.chat_template = "{{ raise_exception('no system here') }}"
    with pytest.raises(InvalidPrompt, match="no system here"):
        encode_prompt(policy, as_messages("hi"))
