"""Several opinions of a pair, each counted by how reliable its author is."""

from __future__ import annotations

import json
import math
import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from app.database import transaction
from app.models import Membership, Person, Project, Round
from app.quality.reliability import MOST, Opinion, combined, reliabilities, weight
from app.rounds.training_set import training_set
from tests.oracles.conftest import Lab
from tests.oracles.helpers import run_oracle

Make = Callable[..., Lab]
ANN, BOB, CID, ROBOT, SECOND = (uuid.uuid4() for _ in range(5))


def crowd(
    accuracies: dict[uuid.UUID, float], pairs: int, seed: int, oracles: tuple[uuid.UUID, ...] = ()
) -> list[list[Opinion]]:
    """Independent opinions of pairs whose truth is a coin's."""
    draw = random.Random(seed)
    found = []
    for _ in range(pairs):
        truth = draw.choice("ab")
        wrong = "b" if truth == "a" else "a"
        found.append(
            [
                Opinion(who, who in oracles, truth if draw.random() < r else wrong)
                for who, r in accuracies.items()
            ]
        )
    return found


@given(st.integers(0, 10_000))
def test_a_random_oracle_weighs_next_to_nothing_and_costs_people_nothing(seed: int) -> None:
    people = {ANN: 0.9, BOB: 0.9, CID: 0.9}
    with_robot = crowd({**people, ROBOT: 0.5}, 400, seed, oracles=(ROBOT,))
    found = reliabilities(with_robot)
    assert weight(found[ROBOT]) < 0.5 < weight(found[ANN])
    alone = reliabilities([[o for o in pair if not o.by_oracle] for pair in with_robot])
    assert {who: found[who] for who in people} == alone


@given(st.integers(0, 10_000), st.integers(3, 6))
def test_good_authors_who_agree_are_nearly_sure(seed: int, many: int) -> None:
    good = {uuid.UUID(int=i): 0.95 for i in range(many)}
    weights = [weight(r) for r in reliabilities(crowd(good, 300, seed)).values()]
    assert combined([1.0] * many, weights) > 0.98
    assert combined([0.0] * many, weights) < 0.02


def test_who_differs_more_than_by_chance_weighs_nothing_and_is_not_turned_round() -> None:
    found = reliabilities(crowd({ANN: 1.0, BOB: 1.0, ROBOT: 0.0}, 50, 1, oracles=(ROBOT,)))
    assert found[ROBOT] == 0.5
    assert weight(found[ROBOT]) == 0.0
    assert found[ANN] == pytest.approx((50 + 3) / 54)


def test_oracles_among_themselves_are_compared_with_each_other() -> None:
    found = reliabilities(crowd({ROBOT: 1.0, SECOND: 1.0}, 16, 1, oracles=(ROBOT, SECOND)))
    assert found == {ROBOT: 18 / 20, SECOND: 18 / 20}


def test_a_crowd_of_oracles_does_not_outvote_how_people_are_measured() -> None:
    robots = {uuid.UUID(int=i): 0.0 for i in range(5)}
    found = reliabilities(crowd({ANN: 1.0, **robots}, 40, 1, oracles=tuple(robots)))
    assert found[ANN] == 0.75
    assert all(found[robot] == 0.5 for robot in robots)


chances = st.floats(0, 1)
weights = st.floats(0, weight(MOST))


@given(chances, weights)
def test_a_single_opinion_stays_what_it_is(p: float, w: float) -> None:
    assert combined([p], [w]) == p


@given(st.lists(st.tuples(chances, weights), min_size=2, max_size=12))
def test_the_label_is_a_probability_whatever_is_a_and_b(
    opinions: list[tuple[float, float]],
) -> None:
    said, counted = [p for p, _ in opinions], [w for _, w in opinions]
    p = combined(said, counted)
    assert 0 <= p <= 1
    assert p + combined([1 - q for q in said], counted) == pytest.approx(1)
    # the order in which they came means nothing, and one more for a never lowers it
    assert combined(said[::-1], counted[::-1]) == pytest.approx(p)
    assert combined([*said, 1.0], [*counted, 1.0]) >= p


@given(st.floats(0.5, MOST), st.floats(0.5, MOST))
def test_two_that_disagree_are_as_bayes_has_it(r: float, q: float) -> None:
    expected = r * (1 - q) / (r * (1 - q) + (1 - r) * q)
    assert combined([1.0, 0.0], [weight(r), weight(q)]) == pytest.approx(expected)


# --- in a project -----------------------------------------------------------------------------


def weighed(lab: Make, pairs: int, **more: Any) -> Lab:
    """A project as its settings are stored, weighing opinions."""
    it = lab(pairs, **more)
    sent = {"training": {"opinions": "reliability"}}
    answer = it.client.patch(it.at, json=sent)
    assert answer.status_code == 200, answer.text
    assert answer.json()["training"]["opinions"] == "reliability"
    it.open()
    return it


def say(it: Lab, client: Any, chosen: Callable[[int], str]) -> None:
    """Answers everything that is open for this person; ``chosen(i)`` of the i-th pair, a or b."""
    order = {str(pair.id): i for i, pair in enumerate(it.pairs())}
    with_sides = {str(c.id): (order[str(c.pair_id)], c.left_is) for c in claimed(it, client)}
    items = [
        {"claim": claim, "choice": "left" if chosen(i) == left else "right"}
        for claim, (i, left) in with_sides.items()
    ]
    assert all(one["status"] == 201 for one in it.answer(items, client))


def claimed(it: Lab, client: Any) -> list[Any]:
    ids = {item["id"] for item in it.claim(100, client)}
    return [claim for claim in it.claims("live") if str(claim.id) in ids]


def trained_on(it: Lab) -> dict[str, float]:
    """p(a) by the pair's external id, as the round has it."""
    with transaction() as s:
        found = training_set(s, s.get_one(Round, it.round().id))
        return {str(one.pair.external_id): one.p for one in found}


def made_oracle(it: Lab, name: str) -> None:
    with transaction() as s:
        who = s.scalars(select(Person).where(Person.name == name)).one()
        s.get_one(Membership, (it.project_id, who.id)).role = "oracle"


def test_an_oracle_that_guesses_hardly_moves_what_people_say(lab: Make) -> None:
    it = weighed(lab, 12, overlap=3)
    for name in ("ann", "bob"):
        say(it, it.more(name), lambda i: "a" if i % 2 else "b")
    robot = it.more("robot")
    made_oracle(it, "robot")
    say(it, robot, lambda i: "ab"[i // 2 % 2])  # right in every second pair
    w = math.log(15 / 1)  # of either person: 12 of 12 and the prior's 3 of 4
    assert trained_on(it) == {
        pair.external_id: pytest.approx(1 / (1 + math.exp(-2 * w if i % 2 else 2 * w)))
        for i, pair in enumerate(it.pairs())
    }
    rows = {one["name"]: one for one in it.client.get(f"{it.at}/quality").json()["annotators"]}
    assert (rows["robot"]["reliability"], rows["robot"]["weight"]) == (0.5, 0.0)
    assert rows["ann"]["reliability"] == pytest.approx(15 / 16)
    assert rows["ann"]["weight"] == pytest.approx(w)


def test_one_annotator_trains_as_before(lab: Make) -> None:
    it = weighed(lab, 3)
    say(it, it.more("ann"), lambda i: "a" if i else "b")
    assert sorted(trained_on(it).values()) == [0.0, 1.0, 1.0]


def test_by_default_it_is_the_mean(lab: Make) -> None:
    it = lab(1, overlap=2)
    it.open()
    say(it, it.more("ann"), lambda _: "a")
    say(it, it.more("bob"), lambda _: "b")
    assert list(trained_on(it).values()) == [0.5]


@pytest.mark.parametrize("weighs", [False, True])
def test_an_attached_oracle_beside_people_counts_by_its_weight(lab: Make, weighs: bool) -> None:
    it = weighed(lab, 8) if weighs else lab(8)
    if not weighs:
        it.open()
    body = {"kind": "sentiment", "mode": "with_people"}
    assert it.client.put(f"{it.at}/oracle", json=body).status_code in (200, 201)
    run_oracle(it.project_id)
    good = {p.id: "a" if p.completion_a.startswith("What") else "b" for p in it.pairs()}
    order = [good[pair.id] for pair in it.pairs()]
    last = len(order) - 1  # here the person says otherwise
    say(it, it.more("ann"), lambda i: "ba"[order[i] == "b"] if i == last else order[i])
    p = list(trained_on(it).values())
    if not weighs:
        assert set(p) <= {0.0, 1.0}  # the person outranks it
        return
    # the oracle: 7 of 8 with people and 2 of 4 before; the person: nobody to compare with
    oracle, person = weight(9 / 12), weight(0.75)
    assert sum(0 < x < 1 for x in p) == 8
    assert sorted(round(max(x, 1 - x), 9) for x in p) == pytest.approx(
        [0.5, *[1 / (1 + math.exp(-oracle - person))] * 7]
    )


def test_the_export_tells_how_reliable_who_said_it_is(lab: Make) -> None:
    it = weighed(lab, 4, overlap=2)
    for name in ("ann", "bob"):
        say(it, it.more(name), lambda _: "a")
    lines = it.client.get(f"{it.at}/export?format=jsonl").text.splitlines()
    assert {json.loads(line)["reliability"] for line in lines} == {7 / 8}
    with transaction() as s:
        project = s.get_one(Project, it.project_id)
        project.training = {**project.training, "opinions": "mean"}
    lines = it.client.get(f"{it.at}/export?format=jsonl").text.splitlines()
    assert {json.loads(line)["reliability"] for line in lines} == {None}


def test_another_way_of_weighing_is_refused_by_name(lab: Make) -> None:
    it = lab(1)
    answer = it.client.patch(it.at, json={"training": {"opinions": "loudness"}})
    assert answer.status_code == 422
    assert "training.opinions" in answer.text
