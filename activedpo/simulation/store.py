"""A simulation's folder: one sub-folder a finished round, which appears whole or not at all.

DIR/config.json            what was asked for, to refuse another config in the same folder
DIR/policy/                π_0 where it was fitted here
DIR/reference.json         π_0's answers to the evaluation prompts
DIR/rounds/ARM/SEED/K/     labels.jsonl, row.json, and the policy of the last finished round
DIR/results.parquet, verdicts.parquet, report.html, curves.png
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from activedpo.types import Pair

FIRST = "_first"
"""Arm of the first round, which all strategies of a seed share."""


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """A bought label. `margin` is the policy's guess before it trained on it (NaN-free or None)."""

    pair: Pair
    p: float
    round: int
    audit: bool = False
    margin: float | None = None


class Store:
    """Reads and writes the folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def round_folder(self, arm: str, seed: int, number: int) -> Path:
        """Of a round; the first is the same for all arms of a seed."""
        return self.root / "rounds" / (FIRST if number == 1 else arm) / str(seed) / str(number)

    def is_done(self, arm: str, seed: int, number: int) -> bool:
        return self.round_folder(arm, seed, number).is_dir()

    def row(self, arm: str, seed: int, number: int) -> dict[str, Any]:
        """The round's figures."""
        return dict(self.read_json(self.round_folder(arm, seed, number) / "row.json"))

    def verdicts(self, arm: str, seed: int, number: int) -> list[float]:
        """Of each evaluation prompt or held-out pair: 1, ½ or 0."""
        return list(self.read_json(self.round_folder(arm, seed, number) / "verdicts.json"))

    def labels(self, arm: str, seed: int, rounds: int) -> list[Label]:
        """All labels of the first `rounds` rounds, in the order they were bought."""
        found = []
        for number in range(1, rounds + 1):
            file = self.round_folder(arm, seed, number) / "labels.jsonl"
            for line in file.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                found.append(Label(**{**row, "pair": Pair(**row["pair"])}))
        return found

    @staticmethod
    def write_labels(folder: Path, labels: list[Label]) -> None:
        lines = [json.dumps(dataclasses.asdict(label)) for label in labels]
        (folder / "labels.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")

    def policy_folder(self, arm: str, seed: int, number: int) -> Path | None:
        """Of the policy that a round trained; None where it trained none."""
        folder = self.round_folder(arm, seed, number) / "policy"
        return folder if folder.is_dir() else None

    def drop_policy(self, arm: str, seed: int, number: int) -> None:
        """Frees a policy that no later round starts from. The first round's is shared: kept."""
        if number > 1:
            shutil.rmtree(self.round_folder(arm, seed, number) / "policy", ignore_errors=True)

    @contextlib.contextmanager
    def whole(self, folder: Path) -> Iterator[Path]:
        """Inside, a scratch folder; it becomes `folder` at the end, or nothing does."""
        scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            yield scratch
            with contextlib.suppress(OSError):  # another process finished the same round first
                scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    @staticmethod
    def read_json(file: Path) -> Any:
        return json.loads(file.read_text(encoding="utf-8"))

    @staticmethod
    def write_json(file: Path, value: Any) -> None:
        """Atomically: a kill leaves the old file or the new one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f".{file.name}.{os.getpid()}")
        scratch.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")
        scratch.replace(file)
