"""Numbers, dates and charts as people read them."""

from __future__ import annotations

import datetime as dt
import math

import pytest

from app import charts, formats
from app.language import speaking
from app.rounds import story
from app.rounds.models import Round

NOW = dt.datetime(2030, 5, 17, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("seconds", "words", "german"),
    [
        (2, "just now", "gerade eben"),
        (59, "59 sec. ago", "vor 59 Sek."),
        (60, "1 min. ago", "vor 1 Min."),
        (3600 * 5, "5 hr. ago", "vor 5 Std."),
        (86_400, "1 day ago", "vor 1 Tag"),
        (86_400 * 3, "3 days ago", "vor 3 Tagen"),
        (86_400 * 800, "2 yr. ago", "vor 2 Jahren"),
        (-60, "in 1 min.", "in 1 Min."),
    ],
)
def test_a_date_is_relative_with_the_exact_one_on_hover(
    seconds: int, words: str, german: str
) -> None:
    when = NOW - dt.timedelta(seconds=seconds)
    assert f">{words}<" in formats.ago(when, NOW)
    assert " UTC" in formats.ago(when, NOW)
    with speaking("de"):
        assert f">{german}<" in formats.ago(when, NOW)


def test_numbers_read_well() -> None:
    assert formats.number(1234567) == "1,234,567"
    assert formats.number(-0.5, 2) == "\u22120.50"
    assert formats.number(None) == "–"
    assert formats.percent(0.625) == "62%"
    assert formats.size(999) == "999 B"
    assert formats.size(3_690_000) == "3.7 MB"
    assert formats.duration(45.2) == "45 s"
    assert formats.duration(7500) == "2 h 5 min"


def test_a_number_is_written_as_the_language_of_its_page_writes_it() -> None:
    shown = (formats.number(1234567.5, 1), formats.percent(0.625, 1), formats.size(3_690_000))
    assert [*shown] == ["1,234,567.5", "62.5%", "3.7 MB"]
    with speaking("de"):
        assert [one.__html__() for one in shown] == ["1.234.567,5", "62,5\xa0%", "3,7 MB"]


def test_a_line_stays_inside_its_frame_and_bounds_its_points() -> None:
    points = [(float(n), math.sin(n)) for n in range(5_000)]
    plot = charts.lines("t", "x", "y", [charts.Series("s", points)])
    pairs = [tuple(map(float, p.split())) for p in plot.lines[0].path.lstrip("M").split("L")]
    assert len(pairs) <= charts.MOST_POINTS + 1
    assert all(plot.left <= x <= plot.right and plot.top <= y <= plot.bottom for x, y in pairs)
    assert pairs[-1][0] == plot.right


def test_higher_is_up_and_further_is_right() -> None:
    plot = charts.scatter("t", "x", "y", [charts.Dot(0, 0, "low"), charts.Dot(1, 1, "high")])
    (x0, y0, _), (x1, y1, _) = plot.dots
    assert x1 > x0
    assert y1 < y0


@pytest.mark.parametrize("values", [(0.0, 0.0), (1e-9, 2e-9), (-5.0, 1e6), (0.5, 0.500001)])
def test_ticks_are_few_and_inside(values: tuple[float, float]) -> None:
    plot = charts.scatter("t", "x", "y", [charts.Dot(v, v, "") for v in values])
    ticks = plot.y.ticks()
    assert 1 <= len(ticks) <= 7
    assert all(plot.top <= at <= plot.bottom for at, _ in ticks)


def test_nothing_to_draw_is_no_chart() -> None:
    assert charts.scatter("t", "x", "y", [charts.Dot(math.nan, 1, "")]) is None
    assert charts.lines("t", "x", "y", [charts.Series("s", [(1, math.nan)])]) is None


def test_the_interval_of_a_share_is_wilsons() -> None:
    # 7 of 10: (0.397, 0.892), Newcombe 1998
    assert story._wilson(0.7, 10) == pytest.approx((0.3968, 0.8922), abs=1e-3)
    assert story._wilson(1.0, 8)[1] == 1.0


def test_time_left_counts_from_the_first_look_at_a_stage() -> None:
    def look(pace: story.Pace | None, stage: str, done: int, now: float) -> story.Pace:
        return story.Pace.after(pace, Round(stage=stage, progress_done=done), now)

    pace = look(None, "loading", 0, 0.0)
    pace = look(pace, "training", 2, 60.0)
    assert pace.per_second is None
    pace = look(pace, "training", 6, 64.0)
    assert pace.per_second == 1.0
    assert look(pace, "training", 0, 65.0).per_second is None
