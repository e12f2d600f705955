"""``python -m bench.overhead``: what a round costs beside the model's own work.

A whole stack with a real model; a scripted annotator labels over REST as soon as there are pairs.
From the times in the database: how long after the batch's last label the first training step
begins, and which share of the model part of a round (training, evaluation, the next pool) is not
spent in the child that computes: taking runs, loading work, storing, the way between them, and
bringing the model into memory. Writes ``bench/results/overhead.json``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import orjson

from app.stack.redis import free_port
from bench.engine.contest import RESULTS, machine
from tests.driver import Visitor, visitor_of
from tests.faults.harness import ask
from tests.stack.conftest import Stack

SETTINGS: dict[str, Any] = {
    "name": "overhead",
    "batch_size": 8,
    "pool_size": 24,
    "acquisition": "certainty",
    "auto_next": True,
    "generation": {"max_new_tokens": 48},
    "training": {"lora": 16, "max_steps": 12, "batch_size": 8, "learning_rate": 2e-4},
}
RUNS = """
    SELECT rounds.number, runs.kind, extract(epoch FROM runs.started_at)::float8,
           extract(epoch FROM runs.finished_at)::float8, runs.output
    FROM runs JOIN rounds ON rounds.id = runs.round_id
    WHERE runs.project_id = %s AND runs.state = 'done' ORDER BY runs.started_at
"""
LABELLED = """
    SELECT rounds.number, max(extract(epoch FROM preferences.created_at))::float8
    FROM preferences JOIN pairs ON pairs.id = preferences.pair_id
    JOIN rounds ON rounds.id = pairs.round_id
    WHERE preferences.project_id = %s GROUP BY rounds.number
"""


def label_rounds(visitor: Visitor, project: str, count: int) -> None:
    """Answer whatever is handed out, the longer completion each time, until so many are done."""
    visitor.open_round(project)
    done = 0
    while done < count:
        path = f"/projects/{project}/claims"
        for claim in visitor.post(path, {"count": 8, "wait": 10})["items"]:
            choice = "left" if len(claim["left"]) > len(claim["right"]) else "right"
            visitor.post(f"/claims/{claim['id']}/preference", {"choice": choice})
        rounds = visitor.get(f"/projects/{project}/rounds")["items"]
        done = sum(round["state"] == "done" for round in rounds)


def figures(runs: list[Any], labelled: dict[int, float], first_steps: list[float]) -> Any:
    """Each round from its last label to the next round's pairs."""
    found = []
    for number, last_label in sorted(labelled.items()):
        mine = {kind: row for n, kind, *row in runs if n == number}
        after = {kind: row for n, kind, *row in runs if n == number + 1}
        if not {"train", "evaluate"} <= set(mine) or "generate" not in after:
            continue
        parts = [mine["train"], mine["evaluate"], after["generate"]]
        clocks = [output["clock"] for *_, output in parts]
        wall = parts[-1][1] - last_label
        computing = sum(clock["seconds"] for clock in clocks)
        reached = parts[0][0] + clocks[0]["reached"]["training"] - first_steps[len(found)]
        found.append(
            {
                "round": number,
                "last_label_to_first_step_s": round(reached - last_label, 2),
                "last_label_to_next_pairs_s": round(wall, 1),
                "in_the_child_s": round(computing, 1),
                "overhead_share": round(1 - computing / wall, 4),
                "stages_reached_s": [clock["reached"] for clock in clocks],
            }
        )
    return found


def main() -> None:
    """Run it and write the figures down."""
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--model", required=True, help="folder of the base model")
    wanted.add_argument("--prompts", type=Path, required=True, help='JSON Lines with "prompt"')
    wanted.add_argument("--rounds", type=int, default=4)
    wanted.add_argument("--trainer", default="packed", choices=["packed", "trl"])
    options = wanted.parse_args()
    SETTINGS["training"]["trainer"] = options.trainer
    texts = [orjson.loads(line)["prompt"] for line in options.prompts.open()][:100]
    with tempfile.TemporaryDirectory() as home:
        stack = Stack(Path(home), free_port())
        try:
            visitor = visitor_of(stack)
            visitor.patience = 600
            made = visitor.post("/projects", SETTINGS | {"base_model": options.model})
            project = str(made["id"])
            rows = [{"prompt": text} for text in texts]
            visitor.post(f"/projects/{project}/prompts", {"prompts": rows})
            label_rounds(visitor, project, options.rounds)
            rounds = visitor.get(f"/projects/{project}/rounds")["items"]
            steps = {r["number"]: r["metrics"].get("steps", []) for r in rounds}
            first = [steps[n][0]["seconds"] for n in sorted(steps) if steps[n]]
            found = figures(ask(stack, RUNS, project), dict(ask(stack, LABELLED, project)), first)
        finally:
            stack.end()
    median = statistics.median(row["overhead_share"] for row in found)
    report = {"machine": machine() | {"load": os.getloadavg()[1]}, "rounds": found}
    name = "overhead" if options.trainer == "packed" else f"overhead_{options.trainer}"
    file = RESULTS / f"{name}.json"
    file.write_bytes(
        orjson.dumps(report | {"overhead_share_median": median}, option=orjson.OPT_INDENT_2) + b"\n"
    )
    print(file.read_text())


if __name__ == "__main__":
    main()
