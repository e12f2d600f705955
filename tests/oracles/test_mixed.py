"""People and an oracle in one batch: who is first, what is left to whom, whose word counts."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text, update

from app.database import transaction
from app.models import Claim, Event, Pair
from app.oracles import queries
from app.oracles.models import LEFT_TO_PEOPLE
from app.rounds.training_set import training_set
from tests.oracles.helpers import labels_by, run_oracle

Make = Callable[..., Any]
GOOD, BAD = "What a wonderful, lovely, happy day!", "This is terrible, awful and sad."
SAME = ("It is a day.", "It is a night.")


def attach(it: Any, **body: Any) -> dict[str, Any]:
    answer = it.client.put(f"{it.at}/oracle", json={"kind": "sentiment", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def an_hour_passes(it: Any) -> None:
    """The labelling began an hour earlier; events cannot be changed but by the owner of them."""
    with transaction() as s:
        s.execute(text("ALTER TABLE events DISABLE TRIGGER append_only"))
        s.execute(
            update(Event)
            .where(Event.project_id == it.project_id)
            .values(created_at=Event.created_at - dt.timedelta(hours=1))
        )
        s.execute(text("ALTER TABLE events ENABLE TRIGGER append_only"))


def answered(it: Any, items: list[Any], choice: str = "left") -> None:
    for one in it.answer([{"claim": item["id"], "choice": choice} for item in items]):
        assert one["status"] == 201


def test_people_first_and_it_fills_what_is_left_after_a_time(lab: Make) -> None:
    it = lab(6)
    it.open()
    told = attach(it, mode="people_first", fill_after=1800)
    assert told["notice"].startswith("People label first")
    run_oracle(it.project_id)
    assert it.labels() == []
    with transaction() as s:
        assert queries.with_work(s) == []
    mine = it.claim(2)
    answered(it, mine[:1])
    an_hour_passes(it)
    with transaction() as s:
        assert len(queries.with_work(s)) == 1  # the clock wakes it
    run_oracle(it.project_id)
    assert it.round().answered == 5  # one answered by a person, one still in a person's hands
    answered(it, mine[1:])
    assert it.round().state == "training"
    by = [one["annotator"] for one in labels_by(it)]
    assert by.count(told["annotator"]) == 4
    assert len(by) == 6


def test_a_time_of_nothing_lets_it_begin_at_once(lab: Make) -> None:
    it = lab(3)
    it.open()
    told = attach(it, mode="people_first", fill_after=0)
    assert told["notice"] is None
    run_oracle(it.project_id)
    assert it.round().state == "training"


def test_where_it_fills_a_second_slot_the_persons_word_is_trained_on(lab: Make) -> None:
    it = lab(2, overlap=2)
    it.open()
    attach(it, mode="people_first", fill_after=0)
    mine = it.claim(2)
    wrong = ["right" if one["left"] == GOOD else "left" for one in mine]
    it.answer([{"claim": c["id"], "choice": w} for c, w in zip(mine, wrong, strict=True)])
    run_oracle(it.project_id)
    assert it.round().state == "training"
    assert len(it.labels()) == 4
    with transaction() as s:
        trained = training_set(s, it.round())
        assert [t.p for t in trained] == [float(t.pair.completion_a == BAD) for t in trained]


def test_what_it_is_unsure_of_goes_to_people_with_what_it_thinks(
    lab: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = lab([(GOOD, BAD), SAME])
    it.open()
    monkeypatch.setattr(
        "worker.oracle.ORACLES",
        {"sentiment": lambda **_: lambda _, a, b: 0.6 if a in SAME else float(a == GOOD)},
    )
    attach(it, mode="first", abstain_below=0.8)
    run_oracle(it.project_id)
    left = it.claim(2)
    assert [sorted((one["left"], one["right"])) for one in left] == [sorted(SAME)]
    skipped = next(label for label in it.labels() if label.choice == "skip")
    assert skipped.judge["p"] == 0.6
    assert "less sure" in skipped.judge["reason"]
    answered(it, left)
    assert it.round().state == "training"
    told = it.client.get(f"{it.at}/oracle/figures").json()
    assert told["with_people"]["n"] == 0  # it did not decide
    assert [row["n"] for row in told["calibration"]] == [1]  # and yet it said how sure it was


def test_people_label_the_audit_share_and_its_opinion_is_kept(lab: Make) -> None:
    it = lab(8, audit_fraction=0.25)
    it.open()
    told = attach(it, mode="first", audit_to_people=True)
    run_oracle(it.project_id)
    assert it.round().answered == 6
    left = it.claim(8)
    with transaction() as s:
        pairs = [s.get_one(Claim, one["id"]).pair_id for one in left]
        assert len(pairs) == 2
        assert all(s.get_one(Pair, pair).audit for pair in pairs)
    answered(it, left, "left")
    assert it.round().state == "training"
    kept = [label for label in it.labels() if label.choice == "skip"]
    assert {label.judge["reason"] for label in kept} == {LEFT_TO_PEOPLE}
    figures = it.client.get(f"{it.at}/oracle/figures").json()
    assert figures["audited"] == 2
    assert figures["abstained"]["value"] == 0
    right = sum(one["left"] == GOOD for one in left)
    assert figures["with_people"]["n"] == 2
    assert figures["with_people"]["value"] == right / 2
    # the export tells them apart
    lines = it.client.get(f"{it.at}/export", params={"format": "jsonl"}).text.splitlines()
    rows = [json.loads(line) for line in lines]
    theirs = [r for r in rows if r["annotator"] != told["annotator"]]
    assert len(theirs) == 2
    assert all(r["judge"] is None for r in theirs)
    its = [r for r in rows if r["annotator"] == told["annotator"] and r["choice"] != "skip"]
    assert len(its) == 6
    assert all(r["judge"]["name"] == "sentiment" for r in its)


def test_an_audit_pair_that_people_skip_is_replaced(lab: Make) -> None:
    it = lab(8, batch_size=4, audit_fraction=0.25)
    it.open()
    attach(it, mode="first", audit_to_people=True)
    run_oracle(it.project_id)
    (one,) = it.claim(4)
    answered(it, [one], "skip")
    run_oracle(it.project_id)
    (next_one,) = it.claim(4)
    assert next_one["prompt"] != one["prompt"]
    answered(it, [next_one])
    assert it.round().state == "training"


@pytest.mark.parametrize(
    "body", [{"fill_after": -1}, {"fill_after": "soon"}, {"audit_to_people": 1}, {"mode": "second"}]
)
def test_what_cannot_be_is_refused_by_name(lab: Make, body: dict[str, Any]) -> None:
    it = lab(1)
    answer = it.client.put(f"{it.at}/oracle", json={"kind": "sentiment", **body})
    assert answer.status_code == 422
    assert next(iter(body)) in answer.json()["detail"]
