"""How far an oracle can be trusted, by figures derived by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.database import transaction
from app.labelling import actions as labelling
from app.labelling.actions import Answer
from app.models import Project
from app.oracles import queries
from app.oracles.figures import share

Make = Callable[..., Any]


def test_a_share_and_its_interval() -> None:
    assert share(0, 0) == {"value": None, "low": None, "high": None, "n": 0}
    half = share(5, 10)  # Wilson: (0.2366, 0.7634)
    assert half["value"] == 0.5
    assert half["low"] == pytest.approx(0.2366, abs=1e-4)
    assert half["high"] == pytest.approx(0.7634, abs=1e-4)


def replies(first: str | None, second: str | None) -> dict[str, Any]:
    told = [("ab", first), ("ba", second)]
    return {"name": "j", "replies": [{"order": o, "verdict": v, "reply": ""} for o, v in told]}


def test_lean_consistency_and_agreement_with_people(lab: Make) -> None:
    """Four pairs, the oracle beside a person.

    The oracle says left (p 0.8), left (p 0.6), skip, right (p_left 0.1): 2 of 3 decided are left,
    1 of 4 is skipped. The orders agree in the first (A, then B) and the last (B, then A), differ
    in the second (A, A), and are not both read in the third. The person agrees with the first and
    the last and not with the second: 2 of 3. Brier: (0.2² + 0.6² + 0.1²) / 3.
    """
    it = lab(4)
    it.open()
    answer = it.client.put(f"{it.at}/oracle", json={"kind": "sentiment", "mode": "with_people"})
    assert answer.status_code == 200
    said = [
        Answer("left", p_left=0.8, judge=replies("A", "B")),
        Answer("left", p_left=0.6, judge=replies("A", "A")),
        Answer("skip", judge=replies("A", None)),
        Answer("right", p_left=0.1, judge=replies("B", "A")),
    ]
    chosen: dict[str, str | None] = {}
    with transaction() as s:
        oracle = queries.attached(s, it.project_id)
        claimed = labelling.claim_pairs(s, s.get_one(Project, it.project_id), oracle.person_id, 4)
        for claim, one in zip(claimed, said, strict=True):
            labelling.prefer(s, claim.claim.id, oracle.person_id, one)
            chosen[claim.prompt] = {"left": claim.left, "right": claim.right}.get(one.choice)
    second = claimed[1].prompt
    theirs = []
    for one in it.claim(4):
        better = one["left"] if chosen[one["prompt"]] is None else chosen[one["prompt"]]
        side = "left" if one["left"] == better else "right"
        if one["prompt"] == second:
            side = "right" if side == "left" else "left"
        theirs.append({"claim": one["id"], "choice": side})
    it.answer(theirs)
    told = it.client.get(f"{it.at}/oracle/figures").json()
    assert told["labels"] == 4
    assert told["abstained"]["value"] == 0.25
    assert (told["left"]["value"], told["left"]["n"]) == (pytest.approx(2 / 3), 3)
    same = told["same_in_both_orders"]
    assert (same["value"], same["n"]) == (pytest.approx(2 / 3), 3)
    assert (told["with_people"]["value"], told["with_people"]["n"]) == (pytest.approx(2 / 3), 3)
    assert told["brier"] == pytest.approx((0.2**2 + 0.6**2 + 0.1**2) / 3)
    assert [row["n"] for row in told["calibration"]] == [1, 1, 1]


def test_without_an_oracle_there_are_none(lab: Make) -> None:
    it = lab(1)
    assert it.client.get(f"{it.at}/oracle/figures").status_code == 404
