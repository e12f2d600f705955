"""Preferences: answered once, changed with a history, fixed when the batch is complete."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.database import transaction
from app.errors import Conflict, NotFound
from app.labelling import actions
from app.models import Preference, PreferenceVersion, Run, TrainingLabel
from app.rounds import actions as rounds


def versions(preference):
    with transaction() as s:
        query = select(PreferenceVersion.choice).where(
            PreferenceVersion.preference_id == preference.id
        )
        return list(s.scalars(query.order_by(PreferenceVersion.version)))


@pytest.mark.parametrize("choice", ["left", "right"])
def test_a_side_is_stored_as_the_completion_that_was_there(world, choice):
    w = world(2)
    w.open()
    claimed = w.claim("ann")[0]
    preference = w.prefer("ann", claimed, choice)
    text = claimed.left if choice == "left" else claimed.right
    assert preference.chosen == text[0]


@pytest.mark.parametrize("choice", ["tie", "both_bad", "skip"])
def test_what_is_no_side_has_no_chosen_completion(world, choice):
    w = world(2)
    w.open()
    assert w.prefer("ann", w.claim("ann")[0], choice).chosen is None


def test_the_same_again_is_the_same_preference(world):
    w = world(2)
    w.open()
    claimed = w.claim("ann")[0]
    assert w.prefer("ann", claimed, "left").id == w.prefer("ann", claimed, "left").id
    assert w.round().answered == 1


def test_another_choice_is_a_conflict_and_changes_nothing(world):
    w = world(2)
    w.open()
    claimed = w.claim("ann")[0]
    first = w.prefer("ann", claimed, "left")
    with pytest.raises(Conflict):
        w.prefer("ann", claimed, "right")
    assert versions(first) == ["left"]


def test_the_same_answer_sent_many_times_at_once_is_stored_once(world):
    w = world(3)
    w.open()
    claimed = w.claim("ann")[0]
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda _: w.prefer("ann", claimed, "left").id, range(16)))
    assert len(set(sent)) == 1
    assert w.round().answered == 1


def test_the_database_refuses_a_second_preference_of_a_person_on_a_pair(world):
    w = world(2)
    w.open()
    first = w.prefer("ann", w.claim("ann")[0], "tie")
    columns = ("project_id", "round_id", "pair_id", "claim_id", "person_id", "left_is")
    with pytest.raises(IntegrityError, match="uq_preferences"), transaction() as s:
        s.add(Preference(choice="tie", **{c: getattr(first, c) for c in columns}))


def test_amending_keeps_the_earlier_value(world):
    w = world(2)
    w.open()
    first = w.prefer("ann", w.claim("ann")[0], "left")
    amended = w.amend("ann", first, "right")
    assert (amended.id, amended.version) == (first.id, 2)
    assert versions(first) == ["left", "right"]
    assert w.round().answered == 1


def test_undo_gives_the_claim_back_to_the_same_person(world):
    w = world(2)
    w.open()
    claimed = w.claim("ann")[0]
    first = w.prefer("ann", claimed, "left")
    back = w.undo("ann", first)
    assert back.claim.id == claimed.claim.id
    assert (w.round().answered, versions(first)) == (0, ["left", None])
    assert w.claim("bob", 5) != []
    second = w.prefer("ann", back, "right")
    assert second.id != first.id


def test_only_ones_own_preference_is_changed(world):
    w = world(2)
    w.open()
    first = w.prefer("ann", w.claim("ann")[0], "left")
    w.person("bob")
    for verb in (lambda: w.amend("bob", first, "tie"), lambda: w.undo("bob", first)):
        with pytest.raises(NotFound):
            verb()


def test_the_last_answer_completes_the_batch_and_starts_one_training(world):
    w = world(3)
    w.open()
    claims = w.claim("ann", 3)
    for claimed in claims:
        assert w.round().state == "labelling"
        last = w.prefer("ann", claimed, "left")
    assert w.round().state == "training"
    assert [run.kind for run in w.runs()] == ["train"]
    with pytest.raises(Conflict):
        w.undo("ann", last)
    with pytest.raises(Conflict):
        w.amend("ann", last, "right")


def test_two_last_answers_at_once_start_one_training(world):
    w = world(8)
    w.open()
    claims = [(f"p{i}", w.claim(f"p{i}")[0]) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda c: w.prefer(c[0], c[1], "left"), claims))
    assert w.round().state == "training"
    assert w.round().answered == 8
    assert [run.kind for run in w.runs()] == ["train"]


def test_the_labels_of_a_training_are_fixed_with_their_versions(world):
    w = world(2)
    round = w.open()
    one, two = w.claim("ann", 2)
    w.amend("ann", w.prefer("ann", one, "left"), "right")
    w.prefer("ann", two, "left")
    with transaction() as s:
        fixed = s.scalars(select(TrainingLabel).where(TrainingLabel.round_id == round.id))
        assert sorted(label.version for label in fixed) == [1, 2]


def test_a_late_answer_is_kept_and_trains_in_the_next_round(world):
    w = world(4, batch_size=2)
    w.open()
    done, late = w.claim("ann", 2)
    w.prefer("ann", done, "left")
    round = w.act(rounds.train_now, w.round())
    assert round.state == "training"
    kept = w.prefer("ann", late, "right")
    assert kept.late is True
    assert w.round().answered == 1
    w.act(rounds.cancel, round)
    following = w.open()
    for claimed in w.claim("ann", 2):
        assert claimed.claim.pair_id != late.claim.pair_id
        w.prefer("ann", claimed, "left")
    with transaction() as s:
        fixed = set(
            s.scalars(
                select(TrainingLabel.preference_id).where(TrainingLabel.round_id == following.id)
            )
        )
    assert kept.id in fixed
    assert len(fixed) == 4


def test_a_label_of_a_cancelled_round_may_be_changed_until_it_is_fixed(world):
    w = world(3)
    round = w.open()
    first = w.prefer("ann", w.claim("ann")[0], "left")
    w.act(rounds.cancel, round)
    assert w.amend("ann", first, "right").choice == "right"


def test_answers_that_train_nothing_end_the_round_with_the_policy_it_began_with(world):
    w = world(2)
    w.open()
    for claimed, choice in zip(w.claim("ann", 2), ["tie", "both_bad"], strict=True):
        w.prefer("ann", claimed, choice)
    round = w.round()
    assert (round.state, round.policy_out_id) == ("done", round.policy_in_id)
    assert "policy stays" in round.metrics["note"]
    assert w.runs() == []


def test_a_tie_trains_where_the_project_says_so(world):
    w = world(1, training={"ties": "half"})
    w.open()
    w.prefer("ann", w.claim("ann")[0], "tie")
    assert w.round().state == "training"


def test_overlap_needs_every_answer_before_the_pair_counts(world):
    w = world(1, overlap=2)
    w.open()
    ann, bob = w.claim("ann")[0], w.claim("bob")[0]
    w.prefer("ann", ann, "left")
    assert (w.round().answered, w.round().state) == (0, "labelling")
    w.prefer("bob", bob, "left")
    assert (w.round().answered, w.round().state) == (1, "training")


def test_a_failed_transaction_rings_no_bell_and_stores_nothing(world):
    w = world(1)
    w.open()
    claimed = w.claim("ann")[0]

    def die():
        with transaction() as s:
            actions.prefer(s, claimed.claim.id, w.person("ann"), actions.Answer("left"))
            raise RuntimeError("the process died here")

    with pytest.raises(RuntimeError):
        die()
    assert w.round().state == "labelling"
    with transaction() as s:
        assert s.scalars(select(Preference)).all() == []
        assert s.scalars(select(Run)).all() == []
