"""Strategies that were tried, fell short, and are in no product: what they teach is in README.md.

`agreed`: |m / s_m + μ / s_μ|, m the implicit reward's margin, μ the margin of a linear reward on
hidden states learnt from the same labels (Bradley-Terry), s their root mean square over the pool.
`certainty` with an estimate that errs less (gaps.py): both are learnt from the same few labels, but
what is noise in one is not the same noise in the other. The counterpart of `disputed`; ours.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import (
    Pool,
    Strategy,
    differences,
    past_differences,
    scaled,
    signed_margins,
)
from activedpo.acquisition.reward_head import fit_head


def _agreed(pool: Pool) -> np.ndarray:
    """|sum of both margins|, each on the scale of its pool: contradiction comes last."""
    head = fit_head(*past_differences(pool))
    both = scaled(signed_margins(pool)) + scaled(differences(pool) @ head.mean)
    absolute: np.ndarray = np.abs(both)
    return absolute


AGREED = Strategy(
    name="agreed",
    rank=_agreed,
    summary="Pairs whose winner the policy and a second reward learnt from the labels agree on.",
    cost="one pass of policy and reference, hidden states kept; labels so far again",
    needs_scores=True,
    needs_margin=True,
    features="hidden",
    needs_past=True,
)
