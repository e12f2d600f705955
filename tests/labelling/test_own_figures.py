"""One's own figures: only where allowed, only one's own, and too few comparisons tell nothing."""

from __future__ import annotations

import pytest

from app.database import transaction
from app.errors import Conflict
from app.models import Project
from app.quality import own


def figures(w, who):
    with transaction() as s:
        return own.figures(s, s.get_one(Project, w.project.id), w.person(who))


def test_nobody_sees_them_unless_the_project_says_so(world):
    w = world(1)
    with pytest.raises(Conflict, match="no figures"):
        figures(w, "ann")


def test_pace_is_that_of_ones_own_labels(world):
    w = world(6, own_figures=True)
    w.open()
    for claimed, seconds in zip(w.claim("ann", 3), (10, 20, 60), strict=True):
        w.prefer("ann", claimed, "left", seconds=seconds)
    (skipped,) = w.claim("ann")
    w.prefer("ann", skipped, "skip", seconds=500)
    (other,) = w.claim("bob")
    w.prefer("bob", other, "left", seconds=1)
    mine = figures(w, "ann")
    assert (mine.labels, mine.skips, mine.seconds, mine.per_hour) == (3, 1, 20, 120)
    assert figures(w, "cid").view() == {
        "labels": 0, "skips": 0, "seconds": None, "per_hour": None, "agrees": None
    }  # fmt: skip


@pytest.mark.parametrize(("pairs", "told"), [(19, None), (20, 0.75)])
def test_agreement_is_told_of_enough_comparisons_alone(world, pairs, told):
    w = world(pairs, overlap=2, own_figures=True)
    w.open()
    for n, (a, b) in enumerate(zip(w.claim("ann", pairs), w.claim("bob", pairs), strict=True)):
        w.prefer("ann", a, "tie")
        w.prefer("bob", b, "tie" if n % 4 else "both_bad")
    agrees = figures(w, "ann").agrees
    assert (agrees and agrees.value) == told
