"""A project's page: labels a day, the queue, agreement, what was chosen; small and large."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from app import charts
from app.database import transaction
from app.labelling import actions as labelling
from app.labelling.actions import Answer
from app.labelling.models import Preference
from app.projects import dashboard
from app.projects.models import Pair, Project, Snapshot
from tests.labelling.conftest import World, make_world
from tests.labelling.test_quality import say
from tests.pages.conftest import Cast, soup


def panel(page: Any, title: str) -> Any:
    heading = page.find("h3", string=title)
    assert heading is not None, title
    return heading.find_parent(class_="panel")


def test_it_shows_when_labels_came_and_how_long_they_took(
    cast: Cast, done_round: uuid.UUID
) -> None:
    with transaction() as s:
        first = s.scalars(select(Preference.id).order_by(Preference.id)).first()
        moved = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
        s.execute(update(Preference).where(Preference.id == first).values(created_at=moved))
    page = soup(cast.owner.get(cast.p))
    bars = panel(page, "Labels a day").select("rect title")
    assert len(bars) == 2
    assert bars[0].string == "Mar 1: 1"
    assert len(panel(page, "Time per label, the median of a day").select("rect")) == 2


def test_a_dot_of_the_batch_opens_its_pair(cast: Cast, done_round: uuid.UUID) -> None:
    page = soup(cast.owner.get(cast.p))
    links = page.select("svg a")
    with transaction() as s:
        chosen = select(Pair.id).where(Pair.state == "answered")
        ids = {f"{cast.p}/pairs/{one}" for one in s.scalars(chosen)}
    assert {link["href"] for link in links} == ids
    assert all(link["aria-label"].startswith("margin") for link in links)
    for link in links:
        assert cast.owner.get(link["href"]).status_code == 200


def test_what_waits_is_told_while_a_round_takes_labels(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    with transaction() as s:
        project = s.get_one(Project, cast.project_id)
        labelling.claim_pairs(s, project, cast.people["annotator"], 1)
    figures = soup(cast.owner.get(cast.p)).find("dl", attrs={"aria-label": "What waits"})
    told = [dd.get_text(strip=True) for dd in figures.select("dd")]
    assert told == ["2", "1"]


def test_an_annotator_sees_no_others_times_and_no_scores(cast: Cast, done_round: uuid.UUID) -> None:
    page = soup(cast.annotator.get(cast.p))
    assert page.find("h3", string="Labels a day") is None
    assert page.select("svg a") == []
    assert page.find("dt", string="Labels") is not None


def seen(world: World) -> dashboard.Seen:
    with transaction() as s:
        return dashboard.seen(s, world.project.id)


@pytest.fixture
def world(database: Any) -> Callable[..., World]:
    """Makes worlds on the empty database."""
    return make_world


def test_agreement_comes_by_round_with_its_interval(world: Callable[..., World]) -> None:
    w = world(12, overlap=2)
    w.open()
    say(w, "ann", "a", 12)
    say(w, "ben", "a", 8)
    say(w, "ben", "b", 4)
    (told,) = seen(w).agreed
    assert (told.round, told.pairs) == (1, 12)
    assert told.low <= told.alpha <= told.high
    (day,) = seen(w).days
    assert (day.labels, day.skips, day.seconds) == (24, 0, 3.0)


def test_a_small_project_is_counted_each_time(world: Callable[..., World]) -> None:
    w = world(3)
    w.open()
    say(w, "ann", "left", 2)
    assert (seen(w).figures.labels, seen(w).taken_at) == (2, None)
    say(w, "ann", "skip", 1)
    assert (seen(w).figures.labels, seen(w).figures.skips) == (2, 1)
    with transaction() as s:
        assert s.scalars(select(Snapshot)).all() == []


def test_a_large_project_is_counted_now_and_then(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "MANY", 3)
    w = world(4)
    w.open()
    say(w, "ann", "left", 2)
    first = seen(w)
    assert first.figures.labels == 2
    say(w, "ann", "left", 2)
    kept = seen(w)
    assert (kept.figures, list(kept.days)) == (first.figures, list(first.days))
    assert kept.taken_at is not None
    assert not kept.is_stale
    dashboard.refresh(w.project.id)  # it is fresh: nothing happens
    assert seen(w).figures.labels == 2
    with transaction() as s:
        s.execute(update(Snapshot).values(taken_at=kept.taken_at - dashboard.FRESH))
    assert seen(w).is_stale
    dashboard.refresh(w.project.id)
    again = seen(w)
    assert (again.figures.labels, again.is_stale) == (4, False)
    assert sum(day.labels for day in again.days) == 4


def test_a_project_that_is_small_again_is_counted_each_time(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "MANY", 3)
    w = world(4)
    kept = seen(w)
    assert seen(w).taken_at is not None
    monkeypatch.setattr(dashboard, "MANY", 30)
    with transaction() as s:
        s.execute(update(Snapshot).values(taken_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
    dashboard.refresh(w.project.id)
    assert seen(w).taken_at is None
    assert seen(w).figures == kept.figures


def test_a_page_of_a_large_project_says_as_of_when_and_counts_behind_the_answer(
    cast: Cast, done_round: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "MANY", 1)
    cast.owner.get(cast.p)
    with transaction() as s:
        s.execute(update(Snapshot).values(taken_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
    assert "as of" in cast.owner.get(cast.p).text
    with transaction() as s:
        taken = s.scalars(select(Snapshot.taken_at)).one()
    assert taken > dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def test_own_answers_to_gold_count_in_what_an_annotator_sees(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    with transaction() as s:
        project = s.get_one(Project, cast.project_id)
        held, _ = labelling.claim_pairs(s, project, cast.people["annotator"], 2)
        said, _ = labelling.prefer(s, held.claim.id, cast.people["annotator"], Answer("left"))
        s.get_one(Preference, said.id).gold = True

    def labels(browser: Any) -> str:
        told = soup(browser.get(cast.p)).find("dt", string="Labels").find_next("dd")
        return str(told.contents[0])

    assert (labels(cast.annotator), labels(cast.owner)) == ("1", "0")


def test_days_have_bars_at_their_places_and_gaps_between() -> None:
    days = [(dt.date(2026, 1, 1), 4.0, ""), (dt.date(2026, 1, 3), 2.0, "1 skipped")]
    plot = charts.days("Labels", "labels", days)
    assert plot is not None
    one, two = plot.bars
    assert two.title == "Jan 3: 2, 1 skipped"
    assert one.height == pytest.approx(2 * two.height, abs=0.2)
    assert two.x - one.x == pytest.approx(2 * (plot.x(738_157) - plot.x(738_156)), abs=0.2)
    assert one.x >= plot.left
    assert two.x + two.width <= plot.right
    assert [label for _, label in plot.x.ticks()] == ["Jan 1", "Jan 2", "Jan 3"]
    assert charts.days("Labels", "labels", []) is None


def test_many_days_have_few_labels() -> None:
    start = dt.date(2026, 1, 1)
    days = [(start + dt.timedelta(days=n), float(n), "") for n in range(60)]
    plot = charts.days("Labels", "labels", days)
    assert plot is not None
    assert len(plot.x.ticks()) <= 6
    assert plot.x.ticks()[-1][1] == "Mar 1"
