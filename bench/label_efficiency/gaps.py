"""What a policy's margins know of the oracle's gaps: `python -m bench.label_efficiency.gaps`.

    python -m bench.label_efficiency.gaps --work DIR

DIR is the one `imdb_paper` was run in: for each of its seeds, the policy after the first batch
writes a fresh pool, and several estimates of who wins are held against oracle and judge, over the
whole pool and over the pairs they are surest of. Writes results/gaps.json and results/gaps.md.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from activedpo.acquisition.base import (
    Past,
    Pool,
    differences,
    past_differences,
    scaled,
    signed_margins,
)
from activedpo.acquisition.reward_head import fit_head
from activedpo.features import pair_features
from activedpo.generation import generate_pairs
from activedpo.scoring import score_pairs
from activedpo.simulation.bench import Bench, derive, use_threads
from activedpo.simulation.choosing import answers
from activedpo.simulation.pools import stream
from activedpo.simulation.store import Store
from bench.label_efficiency.plan import Part, read_plan
from bench.label_efficiency.table import as_markdown

HERE = Path(__file__).parent
POOL = 2_048
SHARES = (8, 32)
FAR = 1_000_000
"""Where in the stream of prompts the fresh pool begins: behind all that the experiment asked."""


def estimates(part: Part, root: Path) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(margins (n,) by estimate, gaps by the oracle (n,), gaps by the judge (n,))."""
    bench = Bench(part.config, Store(part.folder(root)))
    past = bench.store.labels("random", part.seed, 1)
    policy = bench.policy("random", part.seed, 1)
    pairs = generate_pairs(
        policy,
        stream(bench.prompts.train, part.seed, FAR, POOL),
        max_new_tokens=part.config.max_new_tokens,
        temperature=part.config.temperature,
        seed=derive(part.seed, FAR),
    )
    pairs = [pair for pair in pairs if not pair.equal]
    scores = score_pairs(policy, pairs, bench.reference(policy), part.config.beta)
    known = Past(
        pair_features(bench.base, [label.pair for label in past], "hidden"),
        np.array([label.p for label in past]),
    )
    features = pair_features(bench.base, pairs, "hidden")
    rng = np.random.default_rng(part.seed)
    pool = Pool(len(pairs), 0, rng, scores, features=features, past=known)
    margins = signed_margins(pool)
    second = differences(pool) @ fit_head(*past_differences(pool)).mean
    told = answers(bench, pairs)[:, 0]
    made = {
        "chance": rng.standard_normal(len(pairs)),
        "policy's margin (certainty)": margins,
        "linear reward on hidden states": second,
        "both (agreed)": scaled(margins) + scaled(second),
        "the oracle's own (ceiling)": told[:, 0],
    }
    return made, told[:, 0], told[:, 1]


def measured(margin: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Correlation with the oracle's gap; of the surest shares: its size, and labels that are wrong
    by the estimate, and wrong by the judge.
    """
    found = {"correlation": float(np.corrcoef(margin, ours)[0, 1])}
    order = np.argsort(-np.abs(margin))
    for share in SHARES:
        top = order[: len(order) // share]
        found[f"gap 1/{share}"] = float(np.abs(ours[top]).mean())
        found[f"ranked wrongly 1/{share}"] = float((margin[top] * ours[top] < 0).mean())
        found[f"judge objects 1/{share}"] = float((ours[top] * theirs[top] < 0).mean())
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    os.environ["SNIPPETS"] = str(work / "snippets")
    use_threads(os.cpu_count() or 1)
    plan = read_plan(HERE / "configs" / "imdb_paper.yaml")
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in plan.seeds("equal"):
        made, ours, theirs = estimates(plan.part("equal", seed), work / "imdb_paper")
        for name, margin in made.items():
            rows.setdefault(name, []).append(measured(margin, ours, theirs))
    means = {
        name: {key: float(np.mean([row[key] for row in some])) for key in some[0]}
        for name, some in rows.items()
    }
    Store.write_json(HERE / "results" / "gaps.json", {"seeds": plan.seeds("equal"), "means": means})
    page = _page(means, len(plan.seeds("equal")))
    (HERE / "results" / "gaps.md").write_text(page, encoding="utf-8")
    print(page)


def _page(means: dict[str, dict[str, float]], seeds: int) -> str:
    columns = list(next(iter(means.values())))
    rows = [[name, *(f"{row[key]:.3f}" for key in columns)] for name, row in means.items()]
    table = as_markdown(["estimate", *columns], rows)
    return (
        "# What margins know of the oracle's gaps\n\nWritten by `python -m "
        f"bench.label_efficiency.gaps --work DIR` after `imdb_paper`: {seeds} seeds, a fit of π₀ "
        f"each, the policy after 128 random labels, {POOL:,} fresh pairs. Gap: log-odds of the "
        "oracle, mean size; 1/8 and 1/32: the share of the pool that the estimate is surest of, "
        f"as pools of 8 × and 32 × the step take it.\n\n{table}"
    )


if __name__ == "__main__":
    main()
