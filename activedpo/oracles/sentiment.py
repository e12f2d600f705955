"""The friendlier text wins: VADER's lexicon, small, fast, and no model to load.

Hutto & Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis" (2014).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from activedpo.types import Prompt

if TYPE_CHECKING:
    from activedpo.oracles import Oracle


def sentiment(least: float = 0.05) -> Oracle:
    """An oracle that prefers the more positive text.

    Args:
        least: it abstains where the compound scores, each in [−1, 1], differ by less.
    """
    # here, so that who only validates settings needs no lexicon
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()

    def judge(_: Prompt, completion_a: str, completion_b: str, /) -> float | None:
        a, b = (
            float(analyzer.polarity_scores(text)["compound"])
            for text in (completion_a, completion_b)
        )
        if abs(a - b) < least:
            return None
        return float(a > b)

    return judge
