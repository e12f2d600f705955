"""A round's page, its live part, and what an annotator must not see while labelling."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete

from app import news
from app.database import transaction
from app.labelling import actions as labelling
from app.models import Project, Round, Run
from app.rounds import pages
from app.system import actions
from app.system.actions import Identity
from tests.driver import wait_until
from tests.pages.conftest import Cast, soup


def test_scores_stay_hidden_from_annotators_until_the_round_is_over(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    path = f"/rounds/{labelling_round}"
    assert "−1.500" in cast.owner.get(path).text
    seen = cast.annotator.get(path).text
    assert "What was chosen" not in seen
    assert "1.500" not in seen
    with transaction() as session:
        session.get_one(Round, labelling_round).state = "done"
    assert "What was chosen" in cast.annotator.get(path).text


def test_the_label_page_tells_nothing_of_policies_and_scores(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    page = soup(cast.annotator.get(f"{cast.p}/label"))
    assert page.find(id="labelling")["data-needed"] == "2"
    text = page.get_text()
    for word in ("margin", "entropy", "policy", "certainty"):
        assert word not in text.lower()


def test_the_line_of_stages_has_one_live_stage(cast: Cast, labelling_round: uuid.UUID) -> None:
    page = soup(cast.owner.get(f"/rounds/{labelling_round}"))
    stages = page.select(".stages li")
    assert [stage["class"][0] for stage in stages] == ["past", "now", "ahead", "ahead", "ahead"]


def test_a_failure_is_shown_in_full_with_a_way_on(cast: Cast, labelling_round: uuid.UUID) -> None:
    message = "out of memory: lower batch_size <here>\nsecond line"
    with transaction() as session:
        round = session.get_one(Round, labelling_round)
        round.state, round.failed_stage, round.error = "failed", "training", message
    page = soup(cast.owner.get(f"/rounds/{labelling_round}"))
    assert page.select_one(".notice.bad pre").string == message
    assert page.select_one("form[action$='/retry'] button") is not None
    assert [li["class"][0] for li in page.select(".stages li")][2] == "stopped"
    assert (
        soup(cast.annotator.get(f"/rounds/{labelling_round}")).select("form[action$='/retry']")
        == []
    )


def test_a_round_that_no_worker_can_go_on_with_says_what_is_missing(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    path = f"/rounds/{labelling_round}"
    with transaction() as session:
        session.get_one(Round, labelling_round).state = "training"
        session.execute(delete(Run).where(Run.round_id == labelling_round))
        session.add(Run(project_id=cast.project_id, round_id=labelling_round, kind="train"))
        actions.seen(session, Identity("a:1:x", "a", 1, ("generate",), "0.1.0", "0001"), {}, {})
    assert "activedpo worker --takes train" in cast.owner.get(path).text
    shown = cast.annotator.get(path).text
    assert "No worker is there that takes trainings" in shown
    assert "activedpo worker" not in shown
    assert cast.owner.get(f"/api/v1{path}").json()["waits_for"] == "train"
    with transaction() as session:
        actions.seen(session, Identity("b:1:x", "b", 1, ("train",), "0.1.0", "0001"), {}, {})
    assert "No worker is there" not in cast.owner.get(path).text
    assert cast.owner.get(f"/api/v1{path}").json()["waits_for"] is None


def test_cancel_is_the_owners_and_keeps_the_labels(cast: Cast, labelling_round: uuid.UUID) -> None:
    path = f"/rounds/{labelling_round}/cancel"
    assert cast.annotator.submit(path).status_code == 403
    assert cast.stranger.submit(path).status_code == 404
    answer = cast.owner.submit(path)
    assert "labels are kept" in cast.owner.get(answer.headers["Location"]).text
    with transaction() as session:
        assert session.get_one(Round, labelling_round).state == "cancelled"


def test_the_stream_sends_the_moving_parts_and_ends_with_the_round(
    cast: Cast, done_round: uuid.UUID
) -> None:
    answer = cast.owner.get(f"/rounds/{done_round}/events")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    names = [line.removeprefix("event: ") for line in answer.text.splitlines() if "event: " in line]
    assert names == ["round", "figures", "end"]
    assert "Round 1 is done" in answer.text


def test_the_stream_looks_when_something_changed_and_not_before(
    cast: Cast, labelling_round: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    look = pages._look

    def counted(*given: Any) -> Any:
        looks.append(time.monotonic())
        return look(*given)

    monkeypatch.setattr(pages, "_look", counted)
    monkeypatch.setattr(pages, "LOOK_AT_MOST_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(news, "LOOK_ANYWAY_SECONDS", 1_000)
    with ThreadPoolExecutor(1) as browser:
        asked = browser.submit(cast.owner.get, f"/rounds/{labelling_round}/events")
        wait_until(lambda: looks and time.monotonic() - looks[-1] > 1.5, "quiet")
        quiet = len(looks)
        with transaction() as session:
            project = session.get_one(Project, cast.project_id)
            assert labelling.claim_pairs(session, project, cast.people["annotator"], 1)
        wait_until(lambda: len(looks) > quiet and time.monotonic() - looks[-1] > 1.5, "a look")
        assert len(looks) - quiet <= 2
        cast.owner.submit(f"/rounds/{labelling_round}/cancel")
        told = asked.result(20).text
    assert told.count("event: round") >= 2  # who reads a pair now is said there
    assert told.rstrip().endswith("data: over")


def test_how_it_went_is_drawn_and_told(cast: Cast, done_round: uuid.UUID) -> None:
    page = soup(cast.owner.get(f"/rounds/{done_round}"))
    charts = {svg["aria-label"] for svg in page.select("svg.chart")}
    assert {"Loss", "Reward accuracy", "Pool by margin and entropy"} <= charts
    figures = {dt.string: dt.find_next("dd").get_text(" ") for dt in page.select(".figures dt")}
    assert figures["Win-rate against π₀"].startswith("75")
    dots = page.select("svg .dot")
    assert len(page.select("svg.chart a .dot.chosen, svg.chart a .dot.audit")) == 2
    assert len(dots) >= 3
    for link in page.select("svg.chart a"):
        assert cast.owner.get(link["href"]).status_code == 200  # the pair's own page
    theirs = soup(cast.annotator.get(f"/rounds/{done_round}"))
    assert len(theirs.select("svg.chart a")) == 2
    for link in theirs.select("svg.chart a"):
        assert theirs.find(id=link["href"].removeprefix("#")) is not None


def test_rest_says_why_no_pair_is_there(cast: Cast, labelling_round: uuid.UUID) -> None:
    words = {
        "generating": "being written",
        "labelling": "Nothing left for you",
        "training": "batch is complete",
        "failed": "has failed",
        "cancelled": "No batch is open",
    }
    for state, said in words.items():
        with transaction() as session:
            session.get_one(Round, labelling_round).state = state
        assert said in cast.annotator.get(f"{cast.p}/label/rest").text


def test_policies_show_where_they_come_from(cast: Cast, policy_id: uuid.UUID) -> None:
    page = soup(cast.owner.get(f"/policies/{policy_id}"))
    line = [li.find(["a", "strong"]).string for li in page.select(".lineage li")]
    assert line == ["π₀", "Policy 1"]
    assert page.select_one("a.button.main")["href"] == f"/api/v1/policies/{policy_id}/download"


def test_who_runs_the_project_reads_what_was_said_of_a_pair_and_nobody_else(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    asked = {"name": "tone", "title": "Which <i>tone?", "kind": "multi", "options": ["warm <b>"]}
    token = {"X-CSRF-Token": cast.owner.token}
    cast.owner.patch(f"/api/v1{cast.p}", json={"questions": [asked]}, headers=token)
    claim = soup(cast.annotator.get(f"{cast.p}/label")).select_one("#answer")["action"]
    sent = {"choice": "tie", "why": "for <u>that", "flag": "unsafe", "answers.tone": "warm <b>"}
    assert cast.annotator.submit(str(claim), sent).status_code == 303
    read = soup(cast.owner.get(f"/rounds/{labelling_round}")).select_one(".opinions").text
    for word in ("tie", "for <u>that", "unsafe", "Which <i>tone?", "warm <b>"):
        assert word in read
    with transaction() as session:
        session.get_one(Round, labelling_round).state = "done"
    seen = soup(cast.annotator.get(f"/rounds/{labelling_round}"))
    assert seen.select(".opinions") == []
    assert "What was chosen" in seen.text
