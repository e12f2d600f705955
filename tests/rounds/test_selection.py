"""How a batch is drawn from a ranked pool: pure rules, as properties."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.rounds.selection import choose, slots_for

pools = st.integers(0, 40).flatmap(
    lambda n: st.tuples(st.permutations(range(n)), st.integers(1, 50), st.floats(0, 1))
)


@given(pools, st.integers(0, 9))
def test_a_batch_is_m_distinct_pairs_of_which_the_audit_share_is_rounded_up(pool, seed):
    order, m, share = pool
    batch = choose(np.array(order, dtype=np.int64), m, share, np.random.default_rng(seed))
    size = min(m, len(order))
    assert len(batch.chosen) == size
    assert batch.audit <= batch.chosen <= set(order)
    assert len(batch.audit) == math.ceil(share * size)


@given(pools, st.integers(0, 9))
def test_what_is_not_audit_is_the_best_of_the_rest(pool, seed):
    order, m, share = pool
    batch = choose(np.array(order, dtype=np.int64), m, share, np.random.default_rng(seed))
    rest = [i for i in order if i not in batch.audit]
    wanted = batch.chosen - batch.audit
    assert wanted == set(rest[: len(wanted)])


def test_the_audit_share_is_drawn_from_the_whole_pool():
    order = np.arange(100)
    drawn = [
        choose(order, 10, 0.1, np.random.default_rng(seed)).audit.__iter__().__next__()
        for seed in range(400)
    ]
    assert 35 < np.mean(drawn) < 64  # uniform over 0..99 has mean 49.5, s.e. 1.4


@given(st.integers(0, 60), st.integers(1, 5), st.floats(0, 1))
def test_the_overlap_share_is_rounded_up(count, overlap, share):
    slots = slots_for(count, overlap, share, np.random.default_rng(0))
    assert len(slots) == count
    if overlap > 1:
        assert sum(s == overlap for s in slots) == math.ceil(share * count)
    assert set(slots) <= {1, overlap}
