"""Cuts the snippets into disjoint parts: `python -m bench.label_efficiency.prepare SNIPPETS OUT`.

SNIPPETS is a JSON Lines file of `{"text", "positive"}` (movie-review sentences with sentiment, Pang
& Lee 2005), which is not part of this repository. OUT gets `policy.jsonl` (the texts that π_0 is
fitted on), `prompts.jsonl` (these texts, whose beginnings are the prompts to label on, and some
that π_0 never saw for evaluation), `oracle.jsonl` and `judge.jsonl` (the labelled texts of two
different classifiers). No text is in two of policy, evaluation, oracle and judge. `recorded.jsonl`
has pairs as an imported preference set has them (`prompt`, `chosen`, `rejected`): of two sentences
that π_0 never saw, the one that people call positive is chosen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

SHARES = {"policy": 0.38, "eval": 0.06, "oracle": 0.28, "judge": 0.28}


def prepare(snippets: Path, out: Path) -> dict[str, int]:
    """Writes the parts; gives back how many rows each has."""
    rows = [json.loads(line) for line in snippets.read_text(encoding="utf-8").splitlines()]
    distinct = list({row["text"]: row for row in rows}.values())
    order = np.random.default_rng(20_240_214).permutation(len(distinct))
    ends = np.cumsum([round(share * len(distinct)) for share in SHARES.values()])[:-1]
    out.mkdir(parents=True, exist_ok=True)
    parts = {
        name: [distinct[i] for i in part]
        for name, part in zip(SHARES, np.split(order, ends), strict=True)
    }
    held = [{"prompt": row["text"], "split": "eval"} for row in parts.pop("eval")]
    parts["prompts"] = [{"prompt": row["text"]} for row in parts["policy"]] + held
    parts["recorded"] = _pairs(parts["oracle"] + parts["judge"])
    for name, part in parts.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in part]
        (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return {name: len(part) for name, part in parts.items()}


def _pairs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each sentence in one pair at most. Every pair has a prompt of its own: pairs of one prompt
    are held out together.
    """
    sides = [[row["text"] for row in rows if row["positive"] is liked] for liked in (True, False)]
    return [
        {"prompt": f"film {number} :", "chosen": f" {good}", "rejected": f" {bad}"}
        for number, (good, bad) in enumerate(zip(*sides, strict=False))
    ]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(json.dumps(prepare(Path(sys.argv[1]), Path(sys.argv[2]))))
