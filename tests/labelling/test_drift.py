"""Agreement of two against the reference packages; drift and haste by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import krippendorff
import numpy as np
import pytest

from app.database import transaction
from app.quality import queries
from app.quality.agreement import of_table
from app.quality.drift import Change, drifts
from tests.labelling.conftest import World
from tests.labelling.test_quality import say


@pytest.mark.parametrize("seed", range(6))
def test_alpha_of_two_is_that_of_the_reference_package(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.integers(0, 4, 60)
    other = np.where(rng.random(60) < 0.6, one, rng.integers(0, 4, 60))
    table = np.zeros((4, 4), dtype=np.int64)
    np.add.at(table, (one, other), 1)
    wanted = krippendorff.alpha(reliability_data=[one, other], level_of_measurement="nominal")
    found = of_table(table)
    assert found.alpha == pytest.approx(wanted)
    assert found.percent == pytest.approx(float((one == other).mean()))
    assert found.pairs == 60
    assert found.alpha_low is not None
    assert found.alpha_high is not None
    assert found.alpha_low < wanted < found.alpha_high


def test_who_is_compared_does_not_matter() -> None:
    table = np.array([[5, 1, 0, 2], [0, 7, 1, 0], [2, 0, 3, 0], [0, 0, 1, 1]])
    assert of_table(table).alpha == pytest.approx(of_table(table.T).alpha)


def test_nothing_compared_is_nothing_said() -> None:
    assert of_table(np.zeros((4, 4), dtype=np.int64)).alpha is None


def test_z_by_hand() -> None:
    """30 of 40, then 18 of 40: p = 48/80, z = −0.3 / √(0.6 · 0.4 · 2/40)."""
    change = Change((30, 18), (40, 40))
    assert change.z == pytest.approx(-0.3 / math.sqrt(0.6 * 0.4 * 0.05))
    assert change.drifts
    assert not Change((30, 24), (40, 40)).drifts
    assert Change((30, 0), (40, 19)).z is None  # too few to tell
    assert Change((40, 40), (40, 40)).z == 0.0


def test_by_chance_drift_is_told_of_seldom() -> None:
    rng = np.random.default_rng(0)
    told = sum(
        Change(tuple(rng.binomial(100, 0.7, 2)), (100, 100)).drifts  # type: ignore[arg-type]
        for _ in range(2_000)
    )
    assert 5 <= told <= 40  # 1 in 100


def test_who_changes_their_mind_about_everything_is_noticed(world: Callable[..., World]) -> None:
    w = world(48, overlap=2)
    w.open()
    say(w, "ann", "a", 48)
    say(w, "ben", "a", 24)
    say(w, "ben", "b", 24)
    with transaction() as s:
        found = drifts(s, w.project.id)
        people, (between,) = queries.of_people(s, w.project.id)
    ann, ben = found[w.person("ann")], found[w.person("ben")]
    assert ben.agrees.shares == (1.0, 0.0)
    assert ben.agrees.z == pytest.approx(-1 / math.sqrt(0.25 * 2 / 24))
    assert ben.agrees.drifts
    assert ann.left.totals == (24, 24)
    assert {one.name: one.agreement.pairs for one in people} == {"ann": 48, "ben": 48}
    assert between.percent == 0.5
    values = [[0] * 48, [0] * 24 + [1] * 24]
    wanted = krippendorff.alpha(reliability_data=values, level_of_measurement="nominal")
    assert between.alpha == pytest.approx(wanted)
    assert between.alpha_low is not None


def test_who_answers_faster_than_one_reads_is_noticed(world: Callable[..., World]) -> None:
    w = world(40, overlap=2)
    w.open()
    for who, seconds in (("ann", 5.0), ("ben", 0.01)):
        for claimed in w.claim(who, 40):  # the completions have two or three characters each
            w.prefer(who, claimed, "left", seconds=seconds)
    with transaction() as s:
        found = drifts(s, w.project.id)
    ann, ben = found[w.person("ann")], found[w.person("ben")]
    assert (ann.hasty, ann.timed, ann.hurries) == (0, 40, False)
    assert (ben.hasty, ben.timed, ben.hurries) == (40, 40, True)


def test_who_takes_less_than_half_the_time_is_noticed(world: Callable[..., World]) -> None:
    w = world(40)
    w.open()
    for n, claimed in enumerate(w.claim("ann", 40)):
        w.prefer("ann", claimed, "left", seconds=10.0 if n < 20 else 4.0)
    with transaction() as s:
        ann = drifts(s, w.project.id)[w.person("ann")]
    assert (ann.seconds, ann.faster) == ((10.0, 4.0), True)
    assert ann.agrees.shares == (None, None)


def test_all_of_it_is_in_the_answer_over_http(world: Callable[..., World]) -> None:
    w = world(2, overlap=2)
    w.open()
    say(w, "ann", "a", 2)
    say(w, "ben", "a", 2)
    with transaction() as s:
        view: dict[str, Any] = queries.quality_view(s, w.project.id)
    ann = view["annotators"][0]
    assert ann["agreement"]["pairs"] == 2
    assert ann["drift"]["agrees"] == {
        "before": 1.0,
        "after": 1.0,
        "of": [1, 1],
        "z": None,
        "drifts": False,
    }
    assert set(view["between"][0]) >= {
        "kappa",
        "kappa_low",
        "kappa_high",
        "alpha",
        "alpha_low",
        "alpha_high",
    }
