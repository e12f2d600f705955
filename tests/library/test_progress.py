"""The progress bar, as the library's functions call it."""

from __future__ import annotations

import io

import activedpo as ad
from activedpo.loading import Policy
from tests.library.conftest import random_pairs


def test_a_bar_follows_scoring_and_starts_anew(policy: Policy) -> None:
    drawn = io.StringIO()
    progress = ad.bar("scoring", file=drawn, mininterval=0)
    ad.score_pairs(policy, random_pairs(3), progress=progress)
    assert "scoring: 100%" in drawn.getvalue()
    assert "3/3" in drawn.getvalue()
    ad.score_pairs(policy, random_pairs(2), progress=progress)
    assert "2/2" in drawn.getvalue()


def test_a_bar_shows_the_loss_of_training(policy: Policy) -> None:
    drawn = io.StringIO()
    labels = [ad.Preference(pair) for pair in random_pairs(4)]
    progress = ad.bar("training", file=drawn, mininterval=0)
    result = ad.train_dpo(policy, labels, lora=2, max_steps=2, progress=progress)
    assert "2/2" in drawn.getvalue()
    assert f"loss={result.metrics['loss']:.4f}" in drawn.getvalue()
