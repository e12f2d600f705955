"""The import page: a look before it is done, columns by choice, refused rows as a file."""

from __future__ import annotations

import datetime as dt
import io
import json
import uuid
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import func, select

from app import artifacts
from app.database import transaction
from app.imports import actions
from app.imports.models import KeptFile
from app.labelling.models import Preference
from app.people.models import Membership
from app.projects.models import Pair, Prompt
from tests.pages.conftest import Browser, Cast, soup

ROWS = [
    {"question": "Why?", "good": "Because.", "bad": "No."},
    {"question": "", "good": "x", "bad": "y"},
    {"question": "<b>How?</b>", "good": "Thus.", "bad": "So."},
]
MAPPED = {"map.prompt": "question", "map.chosen": "good", "map.rejected": "bad"}


def as_file(kind: str) -> dict[str, Any]:
    if kind == "csv":
        body = "question,good,bad\n" + "\n".join(",".join(row.values()) for row in ROWS)
        return {"file": ("mine.csv", body.encode())}
    if kind == "parquet":
        sink = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(ROWS), sink)
        return {"file": ("mine.parquet", sink.getvalue())}
    return {"file": ("mine.jsonl", "\n".join(map(json.dumps, ROWS)).encode())}


def look(browser: Browser, p: str, kind: str, **more: str) -> str:
    """Send a file to be looked at; the address of the look."""
    form = {"step": "look", **more}
    answer = browser.submit(f"{p}/import/pairs", form, files=as_file(kind))
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def count(table: Any) -> int:
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_file_is_looked_at_mapped_and_imported(cast: Cast, kind: str) -> None:
    path = look(cast.owner, cast.p, kind, labels="on")
    unmapped = cast.owner.get(path)
    page = soup(unmapped)
    options = [o.string for o in page.select("#map-prompt option")]
    assert options[1:] == ["question", "good", "bad"]
    assert "disabled" in page.select_one("form .button.main").attrs
    query = "&".join(f"{name}={value}" for name, value in MAPPED.items())
    mapped = cast.owner.get(f"{path}&{query}")
    assert mapped.status_code == 200
    page = soup(mapped)
    assert "2 would be added, 0 are there already, 1 would be refused" in page.text
    assert page.select_one("#map-chosen option[selected]").string == "good"
    assert "<b>How?" not in mapped.text
    assert "Because." in page.text
    assert count(Pair) == 0
    form = {i["name"]: i["value"] for i in page.select("form[method=post] input[name]")}
    form.pop("csrf_token")
    assert form == {**MAPPED, "labels": "on"}
    done = cast.owner.submit(path.partition("?")[0], form)
    assert soup(done).select_one(".notice strong").string == "2 added"
    assert (count(Pair), count(Preference)) == (2, 2)
    link = soup(done).select_one(".notice a[href*=refused]")["href"]
    refused = cast.owner.get(link)
    assert "attachment" in refused.headers["Content-Disposition"]
    (line,) = map(json.loads, refused.text.splitlines())
    assert line["reason"] == "prompt: must not be empty"
    assert line["original"] == ROWS[1]
    assert cast.admin.get(link).status_code == 404


def test_a_look_says_what_is_wrong_and_lets_it_be_chosen(cast: Cast) -> None:
    path = look(cast.owner, cast.p, "csv")
    answer = cast.owner.get(path)
    assert answer.status_code == 422
    assert "lacks the column prompt, completion_a, completion_b" in answer.text
    wrong = cast.owner.get(f"{path}?map.prompt=nowhere")
    assert "no such column" in soup(wrong).select_one("[role=alert]").string
    assert soup(wrong).select_one("#map-prompt") is not None


def test_prompts_are_looked_at_too(cast: Cast) -> None:
    form = {"step": "look", "split": "eval"}
    sent = cast.owner.submit(f"{cast.p}/import/prompts", form, files=as_file("csv"))
    path = sent.headers["Location"]
    page = soup(cast.owner.get(f"{path}&map.prompt=question"))
    assert "2 would be added" in page.text
    before = count(Prompt)
    cast.owner.submit(path.partition("?")[0], {"map.prompt": "question", "split": "eval"})
    assert count(Prompt) == before + 2


def test_a_file_that_cannot_be_read_is_said_to_be_so(cast: Cast) -> None:
    form = {"step": "look"}
    broken = {"file": ("mine.parquet", b"PAR1 and no more")}
    path = cast.owner.submit(f"{cast.p}/import/pairs", form, files=broken).headers["Location"]
    answer = cast.owner.get(path)
    assert answer.status_code == 422
    assert "no Parquet file that can be read" in answer.text


def test_a_kept_file_is_its_senders_alone(cast: Cast) -> None:
    path = look(cast.owner, cast.p, "jsonl").partition("?")[0]
    with transaction() as session:
        manager = session.get_one(Membership, (cast.project_id, cast.people["annotator"]))
        manager.role = "owner"
    for other in (cast.annotator, cast.admin, cast.stranger):
        assert other.get(path).status_code == 404
        assert other.submit(path).status_code == 404
    assert cast.owner.get(path).status_code == 200
    assert cast.owner.get(f"{cast.p}/import/kept/{uuid.uuid4()}").status_code == 404


def kept() -> list[KeptFile]:
    with transaction() as session:
        return list(session.scalars(select(KeptFile).order_by(KeptFile.created_at)))


def test_files_are_forgotten_after_an_hour_and_the_oldest_for_a_new_one(cast: Cast) -> None:
    paths = [look(cast.owner, cast.p, "jsonl") for _ in range(actions.MOST_KEPT + 1)]
    files = kept()
    assert len(files) == actions.MOST_KEPT
    assert cast.owner.get(paths[0]).status_code == 404
    with transaction() as session:
        session.get_one(KeptFile, files[0].id).created_at -= dt.timedelta(minutes=61)
    assert cast.owner.get(paths[1]).status_code == 404
    assert actions.forget_old() == 1
    with pytest.raises(FileNotFoundError):
        artifacts.open_file(files[0].folder, "file")
    assert {file.id for file in kept()} == {file.id for file in files[1:]}
    assert cast.owner.get(paths[-1]).status_code == 200


def test_a_file_of_a_project_that_is_gone_is_swept_like_any_other(cast: Cast) -> None:
    look(cast.owner, cast.p, "jsonl")
    (file,) = kept()
    with transaction() as session:
        row = session.get_one(KeptFile, file.id)
        row.project_id, row.person_id = None, None
        row.created_at -= dt.timedelta(hours=2)
    assert actions.forget_old() == 1
    assert kept() == []
