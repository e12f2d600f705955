"""Files of prompts, texts and recorded labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from activedpo.simulation.config import InvalidConfig
from activedpo.simulation.texts import read_labels, read_prompts, read_texts, turns
from tests.simulation.conftest import write

SPOKEN = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: more\n\nAssistant:"


def sides(row: dict[str, Any], tmp_path: Path) -> tuple[Any, str, str]:
    """(prompt, chosen, rejected) of a row as it was read."""
    one = read_labels(write(tmp_path / "l.jsonl", [row, row]))[0]
    texts = (one.pair.completion_a, one.pair.completion_b)
    return one.pair.prompt, *(texts if one.p == 1 else texts[::-1])


def test_hh_is_cut_behind_the_last_shared_assistant(tmp_path: Path) -> None:
    row = {"chosen": f"{SPOKEN} sure", "rejected": f"{SPOKEN} never"}
    assert sides(row, tmp_path) == (SPOKEN, " sure", " never")


def test_hh_as_messages() -> None:
    assert turns(SPOKEN) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "more"},
    ]
    assert turns("Human: hi") == turns("no dialogue") == turns(f"{SPOKEN} closed") == []


def test_hh_whose_answers_begin_alike(tmp_path: Path) -> None:
    row = {"chosen": f"{SPOKEN} so yes", "rejected": f"{SPOKEN} so no"}
    assert sides(row, tmp_path) == (SPOKEN, " so yes", " so no")


def test_trl_plain(tmp_path: Path) -> None:
    row = {"prompt": "sky", "chosen": " blue", "rejected": " green"}
    assert sides(row, tmp_path) == ("sky", " blue", " green")


def test_trl_conversational_with_and_without_its_prompt(tmp_path: Path) -> None:
    ask = [{"role": "user", "content": "sky?"}]
    blue, green = ([{"role": "assistant", "content": c}] for c in ("blue", "green"))
    expected = (ask, "blue", "green")
    assert sides({"prompt": ask, "chosen": blue, "rejected": green}, tmp_path) == expected
    assert sides({"chosen": ask + blue, "rejected": ask + green}, tmp_path) == expected


def test_sides_are_drawn_so_that_a_says_nothing(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}", "chosen": "x", "rejected": "y"} for i in range(400)]
    share = sum(one.p for one in read_labels(write(tmp_path / "l.jsonl", rows))) / 400
    assert 0.4 < share < 0.6


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "chosen": "b"},
        {"chosen": "b", "rejected": "c"},
        {"prompt": "a", "chosen": "b", "rejected": ["c"]},
        {"prompt": "a", "chosen": [], "rejected": []},
    ],
)
def test_another_shape_is_told_by_its_line(row: dict[str, Any], tmp_path: Path) -> None:
    good = {"prompt": "p", "chosen": "b", "rejected": "c"}
    with pytest.raises(InvalidConfig, match="line 2 is neither"):
        read_labels(write(tmp_path / "l.jsonl", [good, row]))


def test_no_file_of_labels(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no file"):
        read_labels(tmp_path / "none.jsonl")


def test_prompts_in_every_shape(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "hi"}]
    rows = [{"prompt": "one"}, {"text": "two"}, {"prompt": chat}, {"prompt": "one"}, "three"]
    rows.append({"prompt": "four", "split": "eval"})
    train, held = read_prompts(write(tmp_path / "p.jsonl", rows))
    assert train == ["one", "two", chat, "three"]
    assert held == ["four"]
    (tmp_path / "p.txt").write_text("one\n\ntwo\n")
    assert read_prompts(tmp_path / "p.txt") == (["one", "two"], [])
    (tmp_path / "p.csv").write_text('prompt,split\n"one, two",train\nthree,eval\n')
    assert read_prompts(tmp_path / "p.csv") == (["one, two"], ["three"])
    (tmp_path / "p.json").write_text(json.dumps([{"prompt": "one"}]))
    assert read_prompts(tmp_path / "p.json") == (["one"], [])


@pytest.mark.parametrize("line", ["{", "[1]", '{"prompt": 3}', '{"prompt": [{"role": "user"}]}'])
def test_a_bad_prompt_is_told_by_its_line(line: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(f'"fine"\n{line}\n')
    with pytest.raises(InvalidConfig, match=r"prompts: .*line 2"):
        read_prompts(tmp_path / "p.jsonl")


def test_texts_to_fit_on(tmp_path: Path) -> None:
    rows = [{"text": "one"}, {"prompt": "two", "completion": " more"}, {"prompt": "three"}]
    assert read_texts("k", write(tmp_path / "t.jsonl", rows)) == ["one", "two more", "three"]
    with pytest.raises(InvalidConfig, match="k: line 1"):
        read_texts("k", write(tmp_path / "t.jsonl", [{"body": "x"}]))
