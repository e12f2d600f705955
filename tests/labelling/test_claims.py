"""Claims: who gets which pair, and that nobody holds what another holds."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.database import new_id, transaction
from app.errors import Conflict, Gone, NotFound
from app.labelling.models import Claim
from app.rounds import actions as rounds


def test_each_call_hands_out_further_pairs(world):
    w = world(5)
    w.open()
    first, second, third = w.claim("ann", 3), w.claim("ann", 3), w.claim("ann", 3)
    ids = [c.claim.pair_id for c in first + second]
    assert [len(first), len(second), len(third)] == [3, 2, 0]
    assert len(set(ids)) == 5


def test_nothing_to_claim_without_a_round(world):
    assert world(2).claim("ann", 2) == []


def test_two_people_share_a_batch_without_meeting(world):
    w = world(4)
    w.open()
    pairs = [c.claim.pair_id for c in w.claim("ann", 3) + w.claim("bob", 3)]
    assert len(pairs) == len(set(pairs)) == 4


def test_overlap_gives_a_pair_to_two_people_and_to_nobody_twice(world):
    w = world(2, overlap=2)
    w.open()
    ann, again, bob, eve = (w.claim(n, 9) for n in ("ann", "ann", "bob", "eve"))
    assert [len(ann), len(again), len(bob), len(eve)] == [2, 0, 2, 0]


def test_overlap_share_takes_the_share_rounded_up(world):
    w = world(5, overlap=3, overlap_share=0.5)
    w.open()
    assert Counter(p.slots for p in w.pairs("open")) == {3: 3, 1: 2}


def test_many_claimers_at_once_never_hold_the_same_slot(world):
    w = world(60)
    w.open()
    names = [f"p{i}" for i in range(8)]
    for name in names:
        w.person(name)

    def work(name: str) -> list[object]:
        got = []
        while batch := w.claim(name, 3):
            got += [c.claim.pair_id for c in batch]
        return got

    with ThreadPoolExecutor(8) as pool:
        held = [pair for got in pool.map(work, names) for pair in got]
    assert len(held) == len(set(held)) == 60


def test_a_batch_looks_empty_to_nobody_while_pairs_are_left(world):
    """Of two who see the same free slot at once one gets it, and the other the next."""
    pairs, people = 300, 8
    w = world(pairs)
    w.open()
    for n in range(people):
        w.person(f"p{n}")

    def claim_to_the_end(n):
        while w.claim(f"p{n}"):
            pass
        # What others were claiming at that very moment they have by now, and nothing else was left
        return w.claim(f"p{n}")

    with ThreadPoolExecutor(people) as pool:
        assert list(pool.map(claim_to_the_end, range(people))) == [[]] * people


def test_the_database_refuses_a_second_hold_of_a_slot(world):
    w = world(1)
    w.open()
    claim = w.claim("ann")[0].claim
    other = w.person("bob")
    with pytest.raises(IntegrityError, match="uq_claims_slot"), transaction() as s:
        s.add(
            Claim(
                id=new_id(),
                project_id=claim.project_id,
                round_id=claim.round_id,
                pair_id=claim.pair_id,
                slot=claim.slot,
                person_id=other,
                left_is="a",
                expires_at=claim.expires_at,
            )
        )


def test_sides_are_random_and_texts_follow_them(world):
    w = world(64)
    w.open()
    claimed = w.claim("ann", 64)
    for c in claimed:
        first, second = ("a", "b") if c.claim.left_is == "a" else ("b", "a")
        assert (c.left[0], c.right[0]) == (first, second)
    sides = Counter(c.claim.left_is for c in claimed)
    assert min(sides["a"], sides["b"]) > 10  # a fair coin falls short once in 10^8 runs


def test_an_expired_claim_goes_to_someone_else_and_is_gone_then(world):
    w = world(1)
    w.open()
    mine = w.claim("ann")[0]
    assert w.claim("bob") == []
    w.expire(mine)
    theirs = w.claim("bob")[0]
    assert theirs.claim.pair_id == mine.claim.pair_id
    with pytest.raises(Gone):
        w.prefer("ann", mine, "left")
    assert w.prefer("bob", theirs, "left").choice == "left"


def test_an_expired_claim_that_nobody_took_counts_still(world):
    w = world(2)
    w.open()
    mine = w.claim("ann")[0]
    w.expire(mine)
    assert w.prefer("ann", mine, "left").late is False
    assert w.round().answered == 1


def test_an_expired_claim_claimed_anew_by_oneself_still_counts_once(world):
    w = world(2)
    w.open()
    old = w.claim("ann")[0]
    w.expire(old)
    new = next(c for c in w.claim("ann", 2) if c.claim.pair_id == old.claim.pair_id)
    first = w.prefer("ann", old, "left")
    assert w.prefer("ann", new, "left").id == first.id
    assert w.round().answered == 1


def test_release_gives_the_pair_to_others(world):
    w = world(1)
    w.open()
    w.release("ann", w.claim("ann")[0])
    assert len(w.claim("bob")) == 1


def test_an_answered_claim_is_not_released(world):
    w = world(2)
    w.open()
    mine = w.claim("ann")[0]
    w.prefer("ann", mine, "tie")
    with pytest.raises(Conflict):
        w.release("ann", mine)


def test_somebody_elses_claim_is_not_found(world):
    w = world(1)
    w.open()
    mine = w.claim("ann")[0]
    w.person("bob")
    with pytest.raises(NotFound):
        w.prefer("bob", mine, "left")
    with pytest.raises(NotFound):
        w.release("bob", mine)


def test_claims_of_a_cancelled_round_hand_out_nothing_more(world):
    w = world(3)
    round = w.open()
    w.claim("ann")
    w.act(rounds.cancel, round)
    assert w.claim("ann", 3) == []
    with transaction() as s:
        assert len(s.scalars(select(Claim)).all()) == 1
