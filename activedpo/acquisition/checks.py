"""What `acquire` refuses, with the name of the pair at fault."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activedpo.acquisition.base import Past, Strategy
from activedpo.errors import InvalidScores
from activedpo.types import Scores


def pool_size(
    scores: Scores | None,
    entropy: np.ndarray | None,
    features: np.ndarray | None,
    size: int | None,
) -> int:
    """n, on which all that is given agrees; raises InvalidScores."""
    sizes = {len(given) for given in (scores, entropy, features) if given is not None}
    sizes |= set() if size is None else {size}
    if len(sizes) != 1:
        raise InvalidScores(
            "the pool's size is unclear: give scores, entropy or size"
            if not sizes
            else f"scores, entropy, features and size disagree about the pool: {sorted(sizes)}"
        )
    return sizes.pop()


def check(
    wanted: Strategy,
    scores: Scores | None,
    entropy: np.ndarray | None,
    features: np.ndarray | None,
    past: Past | None,
    n: int,
    ids: Sequence[str] | None = None,
) -> None:
    """Raises InvalidScores where what the strategy reads is missing, misshapen or not finite."""
    if wanted.needs_scores:
        if scores is None:
            raise InvalidScores(f"acquisition {wanted.name!r} needs scores: call score_pairs")
        _finite("margin", scores.margin, (n,), ids)
    if wanted.needs_entropy:
        if entropy is None:
            raise InvalidScores(f"acquisition {wanted.name!r} needs entropy=: call prompt_entropy")
        _finite("entropy", entropy, (n,), ids)
    if wanted.features:
        if features is None:
            raise InvalidScores(
                f"acquisition {wanted.name!r} needs features= of kind {wanted.features!r}: "
                "call activedpo.features.pair_features"
            )
        width = features.shape[-1] if features.ndim else 0
        _finite("features", features, (n, 2, width), ids)
        _check_past(past, width)


def _check_past(past: Past | None, width: int) -> None:
    if past is None:
        return
    _finite("features of label", past.features, (len(past.p), 2, width))
    if len(past) and not (np.isfinite(past.p) & (past.p >= 0) & (past.p <= 1)).all():
        raise InvalidScores("past.p are probabilities in [0, 1]")


def _finite(
    what: str, values: np.ndarray, shape: tuple[int, ...], ids: Sequence[str] | None = None
) -> None:
    if values.shape != shape:
        raise InvalidScores(f"{what} must have shape {shape}, not {values.shape}")
    fine = np.isfinite(values).reshape(len(values), -1).all(1)
    bad = np.flatnonzero(~fine)
    if bad.size:
        name = ids[bad[0]] if ids is not None else bad[0]
        value = values[bad[0]] if values.ndim == 1 else "not finite"
        raise InvalidScores(
            f"{what} of pair {name} is {value}: score it again or drop it "
            f"({bad.size} of {len(values)} are not finite)"
        )
