"""What the duelling strategies share: a reward of each completion with its uncertainty, and the
choice of one pair a prompt where several candidates make several pairs.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, completions, difference_scale, past_differences
from activedpo.acquisition.reward_head import Head, fit_head


def candidates(pool: Pool) -> tuple[np.ndarray, Head]:
    """(features of both completions (n, 2, d), on the head's scale and centred; the head)."""
    both = completions(pool)
    centred = both - both.reshape(-1, both.shape[2]).mean(0)
    return centred / difference_scale(both), fit_head(*past_differences(pool))


def one_a_prompt(pool: Pool, values: np.ndarray) -> np.ndarray:
    """Values that put the best pair of each prompt before every second one."""
    if pool.prompts is None:
        return values
    order = np.lexsort((pool.rng.random(pool.size), -values))
    _, first = np.unique(pool.prompts[order], return_index=True)
    best = np.zeros(pool.size, dtype=bool)
    best[order[first]] = True
    behind = values - (values.max() - values.min()) - 1.0
    return np.where(best, values, behind)
