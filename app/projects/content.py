"""What a prompt is: a text or chat messages; its hash, and how a chat model is asked it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from app import storable
from app.settings import get_settings

ROLES = ("system", "user", "assistant")
Message = dict[str, str]
Content = str | list[Message]


def text(value: Any) -> str:
    """A text that can be stored and is not too long; it may be empty.

    Raises:
        ValueError: saying what is wrong, as the end of a sentence.
    """
    if not isinstance(value, str):
        raise ValueError("must be a text")
    longest = get_settings().max_text_chars
    if len(value) > longest:
        raise ValueError(f"is longer than {longest:,} characters ({len(value):,})")
    storable.check(value)
    return value


def completion(value: Any) -> str:
    """A completion that somebody can read; where it ends without a word there is nothing to.

    Raises:
        ValueError: saying what is wrong, as the end of a sentence.
    """
    checked = text(value)
    if not checked.strip():
        raise ValueError("must not be empty")
    return checked


def prompt(value: Any) -> Content:
    """A prompt: text, or chat messages that end with the user's turn.

    Raises:
        ValueError: saying what is wrong, as the end of a sentence.
    """
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("must not be empty")
        return text(value)
    if not isinstance(value, list) or not value:
        raise ValueError("must be a text, or a list of messages {role, content}")
    messages = [_message(number, item) for number, item in enumerate(value)]
    if messages[-1]["role"] != "user":
        raise ValueError("must end with a message of the user, which the model is to answer")
    return messages


def _message(number: int, item: Any) -> Message:
    if not isinstance(item, dict) or set(item) != {"role", "content"}:
        raise ValueError(f"message {number}: must be {{role, content}} and nothing else")
    if item["role"] not in ROLES:
        raise ValueError(f"message {number}: role must be one of {', '.join(ROLES)}")
    try:
        content = text(item["content"])
        if not content.strip():
            raise ValueError("must not be empty")
    except ValueError as error:
        raise ValueError(f"message {number}: content {error}") from None
    return {"role": item["role"], "content": content}


def length(prompt: Content) -> int:
    """A prompt's length in characters."""
    if isinstance(prompt, str):
        return len(prompt)
    return sum(len(message["content"]) for message in prompt)


def prompt_hash(content: Content) -> str:
    """What two equal prompts share: SHA-256 of their canonical JSON, in hex."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def pair_hash(prompt: str, completion_a: str, completion_b: str) -> str:
    """What two equal pairs share; which completion is called a makes no difference.

    Args:
        prompt: the prompt's hash.
    """
    both = [prompt, *sorted((completion_a, completion_b))]
    return hashlib.sha256(orjson.dumps(both)).hexdigest()


def conversation(content: Content | Sequence[Message], system_prompt: str | None) -> list[Message]:
    """A prompt as a chat model is asked it.

    A text becomes one user turn behind the project's system prompt; messages stay as they are.
    """
    if not isinstance(content, str):
        return [dict(message) for message in content]
    user = {"role": "user", "content": content}
    return [{"role": "system", "content": system_prompt}, user] if system_prompt else [user]
