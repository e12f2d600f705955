"""Files of prompts, texts and recorded labels."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from activedpo.simulation.config import InvalidConfig
from activedpo.types import Pair, Prompt

ASSISTANT = "\n\nAssistant:"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A pair with the label that a person gave it: p = 1 where `completion_a` is the better."""

    pair: Pair
    p: float


def read_rows(key: str, file: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a `.jsonl`, `.json`, `.csv`, `.parquet` or `.txt` file (as `text`).

    Raises:
        InvalidConfig: naming the config's key, the file and the line.
    """
    path = Path(file)
    try:
        yield from _rows(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InvalidConfig(f"{key}: {path.name} cannot be read: {error}") from error


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        yield from enumerate(pq.read_table(path).to_pylist(), 1)
    elif suffix == ".json":
        yield from enumerate(json.loads(path.read_text(encoding="utf-8")), 1)
    elif suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as handle:
            yield from enumerate(csv.DictReader(handle), 2)
    else:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield (
                    number,
                    _parsed(line, number) if suffix == ".jsonl" else {"text": line.strip()},
                )


def _parsed(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number} is no JSON ({error.msg})") from error
    if isinstance(row, str):
        return {"text": row}
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is no JSON object")
    return row


def read_texts(key: str, file: str | Path) -> list[str]:
    """Texts to fit a model on: `text`, or `prompt` with `completion` or `chosen` behind it."""
    texts = []
    for line, row in read_rows(key, file):
        text = row.get("text")
        if text is None and isinstance(row.get("prompt"), str):
            text = row["prompt"] + str(row.get("completion") or row.get("chosen") or "")
        if not isinstance(text, str):
            raise InvalidConfig(f"{key}: line {line} has neither `text` nor `prompt`")
        texts.append(text)
    if not texts:
        raise InvalidConfig(f"{key}: {Path(file).name} holds no text")
    return texts


def read_prompts(file: str | Path) -> tuple[list[Prompt], list[Prompt]]:
    """(prompts to label on, prompts marked `"split": "eval"`), each once."""
    splits: dict[bool, dict[str, Prompt]] = {False: {}, True: {}}
    for line, row in read_rows("prompts", file):
        prompt = row.get("prompt", row.get("text"))
        if isinstance(prompt, str) and prompt.lstrip().startswith("[{"):
            prompt = _messages(prompt)
        checked = _checked(prompt, line)
        splits[row.get("split") == "eval"].setdefault(json.dumps(checked), checked)
    if not splits[False]:
        raise InvalidConfig(f"prompts: {Path(file).name} holds no prompt to label on")
    return list(splits[False].values()), list(splits[True].values())


def _messages(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _checked(prompt: Any, line: int) -> Prompt:
    chat = isinstance(prompt, list) and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in prompt
    )
    if not (chat or isinstance(prompt, str)) or not prompt:
        raise InvalidConfig(
            f"prompts: line {line} needs `prompt` (or `text`): text or a list of role and content"
        )
    found: Prompt = prompt
    return found


def read_labels(file: str | Path) -> list[Recorded]:
    """Recorded labels in hh shape (`chosen`, `rejected` with the dialogue in both) or trl's.

    A side is drawn for each pair, the same in every run, so that "a" says nothing.

    Raises:
        InvalidConfig: a row that is in neither shape.
    """
    path = Path(file)
    if not path.is_file():
        raise InvalidConfig(f"labels file: no file {str(file)!r}")
    recorded = []
    for line, row in read_rows("labels file", path):
        try:
            prompt, chosen, rejected = _preference(row)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidConfig(
                f"labels file: line {line} is neither in hh nor in trl shape: {error}"
            ) from error
        first = bool(np.random.default_rng([line, 1]).integers(2))
        a, b = (chosen, rejected) if first else (rejected, chosen)
        if a != b and a and b:
            recorded.append(Recorded(Pair(prompt, a, b, id=f"line {line}"), float(first)))
    if len(recorded) < 2:
        raise InvalidConfig(f"labels file: {path.name} holds fewer than two usable pairs")
    return recorded


def _preference(row: Mapping[str, Any]) -> tuple[Prompt, str, str]:
    if "chosen" not in row or "rejected" not in row:
        raise ValueError("`chosen` and `rejected` are needed")
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _spoken(chosen, rejected) if prompt is None else (prompt, chosen, rejected)
    if not isinstance(chosen, list) or not isinstance(rejected, list):
        raise ValueError("`chosen` and `rejected` must both be text or both messages")
    if prompt is None:
        prompt, chosen, rejected = _shared(chosen, rejected)
    return prompt, _content(chosen), _content(rejected)


def _spoken(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Cuts both dialogues behind the last "Assistant:" that they share."""
    shared = next(
        (i for i, (x, y) in enumerate(zip(chosen, rejected, strict=False)) if x != y),
        min(len(chosen), len(rejected)),
    )
    end = chosen.rfind(ASSISTANT, 0, shared + len(ASSISTANT))
    while end >= 0 and chosen[: end + len(ASSISTANT)] != rejected[: end + len(ASSISTANT)]:
        end = chosen.rfind(ASSISTANT, 0, end)
    if end < 0:
        raise ValueError('no `prompt`, and the texts share no "Assistant:" turn')
    end += len(ASSISTANT)
    return chosen[:end], chosen[end:], rejected[end:]


def turns(dialogue: str) -> list[dict[str, str]]:
    """The messages of a dialogue in hh's form, open at its end; [] if it is none."""
    parts = re.split(r"\n\n(Human|Assistant):", dialogue)
    head, speakers, said = parts[0], parts[1::2], parts[2::2]
    if head.strip() or not speakers or speakers[-1] != "Assistant" or said[-1].strip():
        return []
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": roles[speaker], "content": text.strip()}
        for speaker, text in zip(speakers[:-1], said[:-1], strict=True)
    ]


def _shared(chosen: list[Any], rejected: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    n = min(len(chosen), len(rejected)) - 1
    same = next((i for i in range(n) if chosen[i] != rejected[i]), n)
    if same < 1:
        raise ValueError("no `prompt`, and the messages share no beginning")
    return chosen[:same], chosen[same:], rejected[same:]


def _content(messages: Sequence[Mapping[str, Any]]) -> str:
    if len(messages) != 1 or not isinstance(messages[0].get("content"), str):
        raise ValueError("one assistant message on each side is wanted")
    return str(messages[0]["content"])
