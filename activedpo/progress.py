"""A progress bar for a notebook or a terminal, as the `progress` of any function here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm


def bar(label: str, **options: Any) -> Callable[..., None]:
    """A callback that draws a bar and closes it when all is done.

        scores = ad.score_pairs(policy, pairs, progress=ad.bar("scoring"))
        result = ad.train_dpo(policy, labels, progress=ad.bar("training"))

    Args:
        label: in front of the bar.
        options: of tqdm, e.g. `file` or `disable`.

    Returns:
        A function of (done, total) or, as training calls it, (step, total, metrics): the loss is
        then shown behind the bar. The next run of the same callback starts a new bar.
    """
    shown: list[tqdm[Any]] = []

    def tell(done: int, total: int, metrics: dict[str, float] | None = None) -> None:
        if not shown:
            shown.append(tqdm(total=total, desc=label, **options))
        (drawn,) = shown
        if metrics:
            drawn.set_postfix(loss=f"{metrics['loss']:.4f}", refresh=False)
        drawn.update(done - drawn.n)
        if done >= total:
            drawn.close()
            shown.clear()

    return tell
