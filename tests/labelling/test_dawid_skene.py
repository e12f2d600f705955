"""Dawid and Skene's model: by hand, against crowd-kit, and as what a round trains on."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.database import transaction
from app.models import Project, Round
from app.projects import schema
from app.quality import dawid_skene, queries
from app.quality.reliability import MOST, Opinion, combined, weight
from app.rounds.training_set import training_set
from tests.labelling.conftest import World

PEOPLE = [uuid.UUID(int=n) for n in range(6)]


def crowd(accuracies: list[float], pairs: int, each: int, seed: int) -> list[list[Opinion]]:
    """Pairs whose truth is a coin's, each judged by ``each`` of the people at random."""
    draw = random.Random(seed)
    found = []
    for _ in range(pairs):
        truth = draw.choice("ab")
        wrong = "b" if truth == "a" else "a"
        found.append(
            [
                Opinion(PEOPLE[n], False, truth if draw.random() < accuracies[n] else wrong)
                for n in sorted(draw.sample(range(len(accuracies)), each))
            ]
        )
    return found


def turned(opinions: list[Opinion]) -> list[Opinion]:
    """The same with a and b exchanged."""
    return [Opinion(o.author, o.by_oracle, "ab"["ba".index(o.chosen)]) for o in opinions]


def test_one_turn_by_hand() -> None:
    """Ann and Bob say a of 8 pairs, Cid b; nobody else is there to say who errs.

    At first every pair is a with chance 2/3, so Ann and Bob are right 8 · 2/3 times of 8, Cid
    8 · 1/3; behind the prior, 4 pairs at 3/4, that is (16/3 + 3) / 12 = 25/36 and (8/3 + 3) / 12,
    which is less than one half and counts as it. The turns that follow make Ann and Bob surer.
    """
    ann, bob, cid = PEOPLE[:3]
    pairs = [[Opinion(ann, False, "a"), Opinion(bob, False, "a"), Opinion(cid, False, "b")]] * 8
    pair = np.repeat(np.arange(8), 3)
    author = np.tile(np.arange(3), 8)
    chose_a = np.tile([True, True, False], 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dawid_skene, "MOST_TURNS", 1)
        first = dawid_skene._until_still(pair, author, chose_a, np.full(3, 0.75), 4.0)
    assert first == pytest.approx([25 / 36, 25 / 36, 0.5])
    found = dawid_skene.reliabilities(pairs)
    assert found[ann] == found[bob] > 25 / 36
    assert found[cid] == 0.5
    r = found[ann]  # where it stands still: p = σ(2 w), r = (8 p + 3) / 12
    assert r == pytest.approx((8 * combined([1.0, 1.0], [weight(r)] * 2) + 3) / 12, abs=1e-6)


@pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword")  # crowd-kit 1.4 with pandas 3
@pytest.mark.parametrize("seed", range(3))
def test_without_a_prior_it_is_crowd_kits(seed: int) -> None:
    import pandas as pd
    from crowdkit import aggregation

    pairs = crowd([0.95, 0.85, 0.75, 0.9, 0.65, 0.8], 300, 4, seed)
    pairs += [turned(opinions) for opinions in pairs]  # theirs estimates how often a is right: ½
    rows = [
        (task, PEOPLE.index(one.author), one.chosen)
        for task, opinions in enumerate(pairs)
        for one in opinions
    ]
    model = aggregation.OneCoinDawidSkene(n_iter=500, tol=1e-14)
    table = pd.DataFrame(rows, columns=["task", "worker", "label"])
    theirs = model.fit_predict_proba(table)
    pair, author, chosen = (np.array(column) for column in zip(*rows, strict=True))
    ours = dawid_skene._until_still(pair, author, chosen == "a", np.full(6, 0.75), 0.0)
    assert ours == pytest.approx([model.skills_[n] for n in range(6)], abs=1e-4)
    weights = np.log(ours / (1 - ours))
    for task, opinions in enumerate(pairs[:50]):
        p = combined(
            [float(one.chosen == "a") for one in opinions],
            [weights[PEOPLE.index(one.author)] for one in opinions],
        )
        assert p == pytest.approx(theirs.loc[task, "a"], abs=1e-3)


def test_it_finds_how_often_each_is_right_and_a_guesser_weighs_little() -> None:
    accuracies = [0.95, 0.9, 0.7, 0.5, 0.6, 0.85]
    found = dawid_skene.reliabilities(crowd(accuracies, 3_000, 4, 0))
    for person, accuracy in zip(PEOPLE, accuracies, strict=True):
        assert found[person] == pytest.approx(accuracy, abs=0.04)
    assert weight(found[PEOPLE[3]]) < 0.2


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 30))
def test_r_is_a_share_within_its_bounds_whatever_is_called_a(
    seed: int, each: int, pairs: int
) -> None:
    given = crowd([0.9, 0.8, 0.3, 0.5], pairs, each, seed)
    found = dawid_skene.reliabilities(given)
    assert all(0.5 <= r <= MOST for r in found.values())
    for person, r in dawid_skene.reliabilities([turned(pair) for pair in given]).items():
        assert found[person] == pytest.approx(r, abs=1e-5)


def test_single_opinions_tell_nothing_of_their_author() -> None:
    alone = [[Opinion(PEOPLE[0], False, "a")], [Opinion(PEOPLE[1], True, "b")]]
    assert dawid_skene.reliabilities(alone) == {PEOPLE[0]: 0.75, PEOPLE[1]: 0.5}
    assert dawid_skene.reliabilities([]) == {}


def test_a_round_trains_on_its_posterior(world: Callable[..., World]) -> None:
    training = schema.Training(opinions="dawid_skene").model_dump()
    w = world(6, overlap=3, training=training)
    w.open()
    said = {"ann": "aaaaaa", "ben": "aaaaab", "cid": "abbbab"}
    for who, letters in said.items():
        for claimed in w.claim(who, 6):
            n = int(claimed.prompt.split()[1])
            left = claimed.left[0]
            w.prefer(who, claimed, "left" if left == letters[n] else "right")
    opinions = [
        [Opinion(w.person(who), False, letters[n]) for who, letters in said.items()]
        for n in range(6)
    ]
    r = dawid_skene.reliabilities(opinions)
    with transaction() as s:
        project = s.get_one(Project, w.project.id)
        assert queries.reliability_of(s, project.id) == pytest.approx(r, abs=1e-6)
        trained = {
            int(t.pair.completion_a[1:]): t.p
            for t in training_set(s, s.get_one(Round, w.round().id))
        }
    for n, p in trained.items():
        chances = [float(one.chosen == "a") for one in opinions[n]]
        expected = combined(chances, [weight(r[one.author]) for one in opinions[n]])
        assert p == pytest.approx(expected, abs=1e-6)
    assert trained[0] > trained[1] > 0.5


def test_trl_takes_no_soft_labels() -> None:
    with pytest.raises(ValueError, match="dawid_skene"):
        schema.Training(trainer="trl", opinions="dawid_skene")
