"""Renewing a claim while its pair is read: who reads keeps it, who was away may have lost it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text

from app.database import transaction
from app.errors import Conflict, Gone, NotFound
from app.labelling import actions, queries
from app.labelling.models import Claim
from app.rounds import actions as rounds


def seconds_left(w, claimed):
    """By the database's clock."""
    with transaction() as s:
        left = text("SELECT extract(epoch FROM expires_at - now()) FROM claims WHERE id = :id")
        return float(s.execute(left, {"id": claimed.claim.id}).scalar_one())


def test_a_renewed_claim_lasts_as_long_again_from_now(world):
    w = world(1, claim_seconds=600)
    w.open()
    (held,) = w.claim("ann")
    with transaction() as s:
        s.execute(text("UPDATE claims SET expires_at = now() + interval '5 seconds'"))
    assert seconds_left(w, held) < 10
    w.renew("ann", held)
    assert 590 < seconds_left(w, held) <= 600


def test_a_renewal_never_shortens_a_claim(world):
    w = world(1, claim_seconds=600)
    w.open()
    (held,) = w.claim("ann")
    with transaction() as s:
        s.execute(text("UPDATE claims SET expires_at = now() + interval '1 day'"))
    w.renew("ann", held)
    assert seconds_left(w, held) > 80_000


def test_a_pair_that_is_read_goes_to_nobody_else(world):
    w = world(1)
    w.open()
    (held,) = w.claim("ann")
    w.expire(held)
    w.renew("ann", held)
    assert w.claim("bob") == []
    assert w.prefer("ann", held, "left").choice == "left"


def test_a_claim_that_lapsed_is_taken_up_again_while_nobody_has_the_pair(world):
    w = world(1)
    w.open()
    (held,) = w.claim("ann")
    w.expire(held)
    with transaction() as s:
        queries.expire_claims(s)
    assert w.renew("ann", held).state == "live"
    assert w.claim("bob") == []


def test_one_given_back_is_taken_up_again_too(world):
    w = world(1)
    w.open()
    (held,) = w.claim("ann")
    w.release("ann", held)  # in another tab, say
    assert w.renew("ann", held).state == "live"


def test_too_late_it_is_gone_and_the_other_keeps_it(world):
    w = world(1)
    w.open()
    (held,) = w.claim("ann")
    w.expire(held)
    (taken,) = w.claim("bob")
    with pytest.raises(Gone, match="given to someone else"):
        w.renew("ann", held)
    assert w.prefer("bob", taken, "right").choice == "right"


def test_a_late_renewal_takes_another_slot_where_one_is_free(world):
    w = world(1, overlap=2)
    w.open()
    (held,) = w.claim("ann")
    w.expire(held)
    w.claim("bob")
    assert w.renew("ann", held).state == "live"
    with transaction() as s:
        slots = s.scalars(select(Claim.slot).where(Claim.state == "live")).all()
    assert sorted(slots) == [0, 1]


@pytest.mark.parametrize("choice", ["left", "skip"])
def test_an_answered_claim_is_not_renewed(world, choice):
    w = world(2)
    w.open()
    (held,) = w.claim("ann")
    w.prefer("ann", held, choice)
    with pytest.raises(Conflict, match="answered"):
        w.renew("ann", held)


def test_a_pair_answered_by_another_claim_of_ones_own_is_not_taken_up_again(world):
    w = world(1, overlap=2)
    w.open()
    (old,) = w.claim("ann")
    w.release("ann", old)
    (new,) = w.claim("ann")
    said = w.prefer("ann", new, "left")
    with pytest.raises(Conflict):
        w.renew("ann", old)
    assert w.amend("ann", said, "right").choice == "right"


def test_somebody_elses_claim_is_not_renewed(world):
    w = world(1)
    w.open()
    (held,) = w.claim("ann")
    with pytest.raises(NotFound):
        w.renew("bob", held)


def test_what_lapsed_in_a_batch_that_is_over_is_gone(world):
    w = world(1)
    w.open()
    (held,) = w.claim("ann")
    w.act(rounds.cancel, w.round())
    w.release("ann", held)
    with pytest.raises(Gone, match="over"):
        w.renew("ann", held)


def test_a_withheld_pair_is_not_taken_up_again(world):
    w = world(1, overlap=2)
    w.open()
    (held,), (other,) = w.claim("ann"), w.claim("bob")
    w.prefer("bob", other, "left", flags=["personal_data"])
    with pytest.raises(Gone):
        w.renew("ann", held)


def test_of_a_renewal_and_a_takeover_at_once_exactly_one_wins(world):
    w = world(12)
    w.open()
    held = w.claim("ann", 12)
    w.person("bob")
    with transaction() as s:
        s.execute(text("UPDATE claims SET expires_at = created_at"))

    def renew(claimed):
        try:
            return w.renew("ann", claimed).state
        except Gone:
            return "gone"

    with ThreadPoolExecutor(6) as pool:
        taken = pool.submit(w.claim, "bob", 12)
        kept = list(pool.map(renew, held))
        assert kept.count("live") + len(taken.result()) == 12
    with transaction() as s:
        live = s.scalars(select(Claim.pair_id).where(Claim.state == "live")).all()
    assert len(live) == len(set(live)) == 12


def test_a_page_that_is_left_takes_nothing_from_one_that_has_renewed_since(world):
    w = world(1)
    w.open()
    (held,) = w.claim("ann")
    knows = held.claim.expires_at
    renewed = w.renew("ann", held).expires_at
    with transaction() as s:
        assert not actions.release(s, held.claim.id, w.person("ann"), until=knows)
    assert w.claim("bob") == []
    with transaction() as s:
        assert actions.release(s, held.claim.id, w.person("ann"), until=renewed)
    assert len(w.claim("bob")) == 1
