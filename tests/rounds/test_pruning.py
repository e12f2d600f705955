"""What a project's settings leave out of a batch, and what its policy labels by itself."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from app.database import transaction
from app.models import Pair, Policy, Project, Prompt, Round
from app.rounds.gate import pseudo_labelled
from app.rounds.training_set import training_set
from tests.rounds.conftest import label

SAME = ("The river is long and slow", "the river is  long and slow ")


def on_a_trained_policy(h):
    """The next round starts from a policy that has margins."""
    with transaction() as s:
        trained = Policy(project_id=h.id, number=9, kind="adapter", base_model="m", path="x")
        s.add(trained)
        s.flush()
        s.get_one(Project, h.id).policy_id = trained.id


def chosen(h):
    return sorted(int(pair.margin) for pair in h.pairs("open"))


def test_pairs_with_like_completions_are_asked_about_last(hand):
    h = hand(
        8, pool_size=8, acquisition="certainty", generation={"near_duplicates": 0.9}, batch_size=3
    )
    on_a_trained_policy(h)
    h.open()
    texts = {i: (f"{i} one", f"{i} two") for i in range(8)} | {7: SAME, 5: ("4 two", "4 one")}
    h.generate(float, texts.__getitem__)  # 5 says what 4 says, sides changed
    assert chosen(h) == [3, 4, 6]
    assert h.round().metrics["pruned"] == 2


def test_a_batch_is_filled_where_nothing_else_is_left(hand):
    h = hand(
        4, pool_size=4, acquisition="certainty", generation={"near_duplicates": 0.5}, batch_size=4
    )
    h.open()
    h.generate(float, lambda _: SAME)
    assert len(h.pairs("open")) == 4


def test_the_tails_of_perplexity_are_asked_about_last(hand):
    h = hand(
        8, pool_size=8, acquisition="certainty", generation={"prune": [0.2, 0.8]}, batch_size=2
    )
    on_a_trained_policy(h)
    h.open()
    h.generate(float, perplexity={7: 1.0, 6: 9e9}.get)
    assert chosen(h) == [4, 5], "what was not measured is in no tail"
    h2 = hand(
        8, pool_size=8, acquisition="certainty", generation={"prune": [0.2, 0.8]}, batch_size=2
    )
    on_a_trained_policy(h2)
    h2.open()
    h2.generate(float, perplexity=lambda i: {7: 1.0, 6: 9e9}.get(i, 20.0 + i))
    assert chosen(h2) == [3, 4]
    assert h2.round().metrics["pruned"] == 4


def test_the_audit_share_is_drawn_from_the_whole_pool(hand):
    """Else its figures would be figures of what the rules let through."""
    h = hand(
        12,
        pool_size=12,
        acquisition="certainty",
        generation={"near_duplicates": 0.9},
        batch_size=6,
        audit_fraction=0.5,
    )
    on_a_trained_policy(h)
    h.open()
    h.generate(float, lambda i: SAME if i < 11 else ("a", "b"))
    audit = [pair for pair in h.pairs("open") if pair.audit]
    assert len(audit) == 3
    assert any(pair.completion_a == SAME[0] for pair in audit)


def test_imported_pairs_at_random_pass_over_near_duplicates(hand):
    h = hand(
        1,
        source="imported",
        acquisition="random",
        batch_size=3,
        generation={"near_duplicates": 0.9},
    )
    with transaction() as s:
        prompt = s.query(Prompt).filter_by(project_id=h.id).one()
        for i in range(12):
            a, b = (f"{i}", f"not {i}") if i % 4 == 0 else SAME
            s.add(Pair(project_id=h.id, prompt_id=prompt.id, completion_a=a, completion_b=b))
    h.open()
    assert {pair.completion_a for pair in h.pairs("open")} == {"0", "4", "8"}


@pytest.fixture
def asked(hand, ann):
    """A round with margins 0, 1, −2, …, 7, two of them answered; σ(4) = 0.98201."""
    h = hand(8, pool_size=8, acquisition="certainty", batch_size=2, training={"gate": 0.982})
    on_a_trained_policy(h)
    h.open()
    h.generate(lambda i: float(i if i % 2 else -i))
    with transaction() as s:
        round = s.get_one(Round, h.round().id)
        mine = update(Pair).where(Pair.round_id == round.id)
        s.execute(mine.values(scored_by=round.policy_in_id))
    assert [pair.margin for pair in h.pairs("open")] == [7.0, -6.0]
    label(h, ann)
    return h


def pseudo(h):
    with transaction() as s:
        round = s.get_one(Round, h.round().id)
        found = pseudo_labelled(s, round, s.get_one(Project, h.id))
        labelled = {item.pair.id for item in training_set(s, round)}
        assert not labelled & {item.pair.id for item in found}
        return sorted((item.pair.margin, item.p) for item in found)


def test_a_policy_labels_what_it_is_sure_of_and_nobody_was_asked(asked):
    assert asked.round().state == "training"
    assert pseudo(asked) == [(-4.0, 0.0), (5.0, 1.0)]


def test_such_a_label_is_neither_new_nor_of_the_audit(asked):
    with transaction() as s:
        round = s.get_one(Round, asked.round().id)
        for item in pseudo_labelled(s, round, s.get_one(Project, asked.id)):
            assert (item.pseudo, item.new, item.audit, item.weight) == (True, False, False, 1.0)


def test_without_a_gate_it_labels_nothing(asked):
    with transaction() as s:
        s.get_one(Project, asked.id).training = {}
    assert pseudo(asked) == []


def test_margins_of_another_policy_make_it_sure_of_nothing(asked):
    with transaction() as s:
        s.execute(update(Pair).values(scored_by=None))
    assert pseudo(asked) == []


def test_before_the_first_training_it_is_sure_of_nothing(hand):
    h = hand(8, pool_size=8, training={"gate": 0.6})
    h.open()
    h.generate(lambda _: 9.0)
    with transaction() as s:
        round = s.get_one(Round, h.round().id)
        s.execute(update(Pair).values(scored_by=round.policy_in_id))
    assert pseudo(h) == []
