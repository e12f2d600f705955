"""Where annotators disagree, a reviewer's answer decides before the pair counts."""

from __future__ import annotations

from app.database import transaction
from app.models import Round
from app.rounds.training_set import training_set


def disagree(w):
    """Two people who say different things of the one pair; their preferences."""
    ann, bob = w.claim("ann")[0], w.claim("bob")[0]
    said = []
    for who, held in (("ann", ann), ("bob", bob)):
        choice = "left" if (held.claim.left_is == "a") == (who == "ann") else "right"
        said.append(w.prefer(who, held, choice))
    return said


def test_agreement_needs_no_reviewer(world):
    w = world(1, overlap=2, adjudicate=True)
    w.open()
    ann, bob = w.claim("ann")[0], w.claim("bob")[0]
    w.prefer("ann", ann, "tie")
    w.prefer("bob", bob, "tie")
    assert w.round().answered == 1


def test_a_disagreement_waits_for_a_reviewer_alone(world):
    w = world(1, overlap=2, adjudicate=True)
    w.person("rev", "reviewer")
    w.open()
    disagree(w)
    assert (w.round().state, w.round().answered) == ("labelling", 0)
    assert w.claim("cid") == []
    assert len(w.claim("rev")) == 1


def test_without_adjudication_a_disagreement_counts(world):
    w = world(1, overlap=2)
    w.open()
    disagree(w)
    assert w.round().answered == 1


def test_the_reviewers_answer_is_what_trains(world):
    w = world(1, overlap=2, adjudicate=True)
    w.person("rev", "reviewer")
    w.open()
    disagree(w)
    held = w.claim("rev")[0]
    preference = w.prefer("rev", held, "left")
    assert preference.review
    assert w.round().state == "training"
    with transaction() as s:
        (row,) = training_set(s, s.get_one(Round, w.round().id))
    assert row.p == (1.0 if held.claim.left_is == "a" else 0.0)


def test_an_answer_that_comes_round_withdraws_the_review(world):
    w = world(2, overlap=2, adjudicate=True, batch_size=1)
    w.person("rev", "reviewer")
    w.open()
    ann, _ = disagree(w)
    back = w.undo("ann", ann)
    assert w.claim("rev") == []
    w.prefer("ann", back, "left" if back.claim.left_is == "b" else "right")
    assert w.round().state == "training"


def test_reviewers_who_all_pass_leave_it_at_what_was_said(world):
    w = world(1, overlap=2, adjudicate=True)
    w.person("rev", "reviewer")
    w.open()
    disagree(w)
    w.prefer("rev", w.claim("rev")[0], "skip")
    assert (w.round().state, w.round().answered) == ("training", 1)
