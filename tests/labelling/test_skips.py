"""Skips: others get the pair; a pair that nobody wants is replaced, or the batch shrinks."""

from __future__ import annotations

import pytest

from app.errors import Gone


def test_a_skipped_pair_goes_to_others_and_not_back(world):
    w = world(1)
    w.person("bob")
    w.open()
    w.prefer("ann", w.claim("ann")[0], "skip")
    assert w.claim("ann") == []
    assert len(w.claim("bob")) == 1


def test_a_pair_that_everyone_skipped_is_replaced_by_the_next(world):
    w = world(3, batch_size=1)
    w.open()
    first = w.claim("ann")[0]
    w.prefer("ann", first, "skip")
    second = w.claim("ann")[0]
    assert second.claim.pair_id != first.claim.pair_id
    assert (w.round().needed, len(w.pairs("dropped"))) == (1, 1)


def test_it_waits_for_a_member_who_has_not_skipped(world):
    w = world(2, batch_size=1)
    w.person("bob")
    w.open()
    w.prefer("ann", w.claim("ann")[0], "skip")
    assert w.pairs("dropped") == []
    w.prefer("bob", w.claim("bob")[0], "skip")
    assert len(w.pairs("dropped")) == 1


def test_an_empty_pool_shrinks_the_batch(world):
    w = world(2)
    w.open()
    one, two = w.claim("ann", 2)
    w.prefer("ann", one, "skip")
    assert w.round().needed == 1
    w.prefer("ann", two, "left")
    assert w.round().state == "training"


def test_a_skip_can_be_what_completes_the_batch(world):
    w = world(2)
    w.open()
    one, two = w.claim("ann", 2)
    w.prefer("ann", one, "left")
    w.prefer("ann", two, "skip")
    assert w.round().state == "training"


def test_with_no_label_at_all_the_round_ends_as_it_began(world):
    w = world(2)
    w.open()
    for claimed in w.claim("ann", 2):
        w.prefer("ann", claimed, "skip")
    round = w.round()
    assert (round.state, round.policy_out_id) == ("done", round.policy_in_id)
    assert w.runs() == []


def test_an_audit_pair_is_replaced_by_an_audit_pair(world):
    w = world(6, batch_size=2, audit_fraction=0.5)
    w.open()
    audit = next(p.id for p in w.pairs("open") if p.audit)
    for claimed in w.claim("ann", 2):
        if claimed.claim.pair_id == audit:
            w.prefer("ann", claimed, "skip")
    assert sum(p.audit for p in w.pairs("open")) == 1


def test_an_undone_skip_brings_the_pair_back_and_its_successor_steps_down(world):
    w = world(3, batch_size=1)
    w.open()
    first = w.claim("ann")[0]
    back = w.undo("ann", w.prefer("ann", first, "skip"))
    assert back.claim.pair_id == first.claim.pair_id
    assert [p.id for p in w.pairs("open")] == [first.claim.pair_id]
    w.prefer("ann", back, "left")
    assert w.round().state == "training"


def test_an_undone_skip_lets_a_shrunken_batch_grow_again(world):
    w = world(2)
    w.open()
    one, two = w.claim("ann", 2)
    skipped = w.prefer("ann", one, "skip")
    back = w.undo("ann", skipped)
    assert w.round().needed == 2
    w.prefer("ann", back, "left")
    w.prefer("ann", two, "left")
    assert (w.round().state, w.round().answered) == ("training", 2)


def test_a_skip_is_not_undone_once_someone_else_has_the_pair(world):
    w = world(1)
    w.person("bob")
    w.open()
    skipped = w.prefer("ann", w.claim("ann")[0], "skip")
    w.claim("bob")
    with pytest.raises(Gone):
        w.undo("ann", skipped)


def test_a_skip_amended_to_a_side_counts(world):
    w = world(2)
    w.open()
    skipped = w.prefer("ann", w.claim("ann")[0], "skip")
    w.amend("ann", skipped, "left")
    assert w.round().answered == 1


def test_overlap_that_nobody_will_fill_is_content_with_what_was_said(world):
    w = world(2, overlap=2, batch_size=1)
    w.person("bob")
    w.open()
    w.prefer("ann", w.claim("ann")[0], "left")
    w.prefer("bob", w.claim("bob")[0], "skip")
    assert (w.round().state, w.round().answered) == ("training", 1)
