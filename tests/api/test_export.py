"""The labels as files: what trl takes, and everything that is known."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import select

from app.database import transaction
from app.labelling.models import Claim, Preference
from app.projects import writing
from app.projects.models import Pair, Project, Prompt
from app.rounds.models import Round

CHOICES = ("left", "right", "tie", "both_bad", "skip", "left")


def label(cast: Any, prompts: list[Any], choices: tuple[str, ...] = CHOICES) -> None:
    """A finished round in which the annotator said ``choices`` of pairs of ``prompts``."""
    with transaction() as session:
        project = session.get_one(Project, cast.project_id)
        round = Round(project_id=project.id, number=1, needed=len(choices), state="labelling")
        session.add(round)
        session.flush()
        for number, choice in enumerate(choices):
            content = prompts[number % len(prompts)]
            prompt = Prompt(project_id=project.id, content=content, content_hash=f"h{number}")
            session.add(prompt)
            session.flush()
            pair = Pair(
                project_id=project.id,
                prompt_id=prompt.id,
                completion_a=f"a{number}",
                completion_b=f"=b{number}",
                external_id=f"-e{number}",
                round_id=round.id,
                policy_id=project.policy_id,
                state="open",
            )
            session.add(pair)
            session.flush()
            left_is = "ab"[number % 2]
            claim = Claim(
                project_id=project.id,
                round_id=round.id,
                pair_id=pair.id,
                slot=0,
                person_id=cast.annotator.id,
                left_is=left_is,
                state="answered",
                expires_at=round.created_at,
            )
            session.add(claim)
            session.flush()
            right_is = "ba"[number % 2]
            session.add(
                Preference(
                    project_id=project.id,
                    round_id=round.id,
                    pair_id=pair.id,
                    claim_id=claim.id,
                    person_id=cast.annotator.id,
                    choice=choice,
                    left_is=left_is,
                    chosen={"left": left_is, "right": right_is}.get(choice),
                    strength=2 if choice == "left" else None,
                    judge={"name": "me"} if choice == "tie" else None,
                )
            )


def lines(cast: Any, format: str) -> list[dict[str, Any]]:
    answer = cast.owner.get(f"{cast.project}/export?format={format}")
    assert answer.status_code == 200, answer.text
    assert "attachment" in answer.headers["Content-Disposition"]
    return [json.loads(line) for line in answer.text.splitlines()]


def test_trl_takes_decided_labels_as_plain_text(cast: Any) -> None:
    label(cast, ["P"])
    assert lines(cast, "trl") == [
        {"prompt": "P", "chosen": "a0", "rejected": "=b0"},
        {"prompt": "P", "chosen": "a1", "rejected": "=b1"},
        {"prompt": "P", "chosen": "=b5", "rejected": "a5"},
    ]


def test_one_conversation_makes_all_rows_conversations(cast: Any) -> None:
    chat = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    cast.owner.patch(cast.project, json={"system_prompt": "Be brief."})
    label(cast, ["P", chat], ("left", "left"))
    assert lines(cast, "trl") == [
        {
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "P"},
            ],
            "chosen": [{"role": "assistant", "content": "a0"}],
            "rejected": [{"role": "assistant", "content": "=b0"}],
        },
        {
            "prompt": chat,
            "chosen": [{"role": "assistant", "content": "=b1"}],
            "rejected": [{"role": "assistant", "content": "a1"}],
        },
    ]


@pytest.mark.parametrize("file", ["tokenizer_config.json", "chat_template.jinja"])
def test_a_chat_base_makes_conversations_unless_it_is_off(
    cast: Any, tmp_path: Path, file: str
) -> None:
    (tmp_path / file).write_text('{"chat_template": "{{ messages }}"}')
    cast.owner.patch(cast.project, json={"base_model": str(tmp_path)})
    label(cast, ["P"], ("left",))
    assert lines(cast, "trl")[0]["prompt"] == [{"role": "user", "content": "P"}]
    with transaction() as session:
        session.get_one(Project, cast.project_id).chat = "off"
    assert lines(cast, "trl")[0]["prompt"] == "P"


def test_json_lines_tell_everything(cast: Any) -> None:
    label(cast, ["P"])
    rows = lines(cast, "jsonl")
    assert [row["choice"] for row in rows] == list(CHOICES)
    assert [row["left_is"] for row in rows] == list("ababab")
    assert [row["chosen"] for row in rows] == ["a", "a", None, None, None, "b"]
    assert {row["annotator"] for row in rows} == {"annotator@example.com"}
    assert rows[0]["external_id"] == "-e0"
    assert rows[0]["strength"] == 2
    assert rows[2]["judge"] == {"name": "me"}
    assert all(tuple(row) == writing.COLUMNS for row in rows)


def test_an_undone_label_is_in_no_file(cast: Any) -> None:
    label(cast, ["P"], ("left", "left"))
    with transaction() as session:
        undone = session.scalars(select(Preference).order_by(Preference.id)).first()
        assert undone is not None
        undone.deleted_at = undone.created_at
    assert len(lines(cast, "jsonl")) == len(lines(cast, "trl")) == 1


def test_csv_holds_no_formula(cast: Any) -> None:
    label(cast, ["=1+1", [{"role": "user", "content": "=x"}]], ("left", "tie"))
    text = cast.owner.get(f"{cast.project}/export?format=csv").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == writing.COLUMNS
    assert rows[0]["prompt"] == "'=1+1"
    assert rows[0]["completion_b"] == "'=b0"
    assert rows[0]["external_id"] == "'-e0"
    assert json.loads(rows[1]["prompt"]) == [{"role": "user", "content": "=x"}]
    assert json.loads(rows[1]["judge"]) == {"name": "me"}
    for row in rows:
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())


def test_parquet_keeps_types_over_several_groups(
    cast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "ROWS_IN_GROUP", 2)
    label(cast, ["P"], CHOICES[:5])
    content = cast.owner.get(f"{cast.project}/export?format=parquet").content
    file = parquet.ParquetFile(io.BytesIO(content))
    assert file.num_row_groups == 3
    rows = file.read().to_pylist()
    assert [row["choice"] for row in rows] == list(CHOICES[:5])
    assert rows[0]["strength"] == 2
    assert rows[0]["created_at"].tzinfo is not None
    assert tuple(rows[0]) == writing.COLUMNS


@pytest.mark.parametrize("format", ["trl", "jsonl", "csv", "parquet"])
def test_a_project_without_labels_exports_no_rows(cast: Any, format: str) -> None:
    answer = cast.owner.get(f"{cast.project}/export?format={format}")
    assert answer.status_code == 200
    if format == "parquet":
        assert parquet.read_table(io.BytesIO(answer.content)).num_rows == 0
    else:
        assert len(answer.text.splitlines()) == (1 if format == "csv" else 0)


def test_who_may_export(cast: Any, anyone: Any) -> None:
    url = f"{cast.project}/export"
    statuses = [
        one.get(url).status_code
        for one in (anyone, cast.stranger, cast.annotator, cast.owner, cast.admin)
    ]
    assert statuses == [401, 404, 403, 200, 200]
    assert cast.owner.get(f"{url}?format=xml").status_code == 422


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
def test_plain_trl_trains_on_the_export_with_no_change(
    cast: Any, tmp_path: Path, chat: bool
) -> None:
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from activedpo.testing import tiny_model

    model = tiny_model(tmp_path / "model", chat=chat)
    cast.owner.patch(cast.project, json={"base_model": str(model)})
    label(cast, ["Say hello", "Say bye"])
    file = tmp_path / "labels.jsonl"
    file.write_bytes(cast.owner.get(f"{cast.project}/export?format=trl").content)
    data = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path))
    config = DPOConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=2,
        report_to=[],
        bf16=False,
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=config,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    assert trainer.train().global_step == 1
