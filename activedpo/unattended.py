"""The loop without people: a config, a server, an oracle attached; policy, labels and report out.

Everything goes through the HTTP API, so the same run drives the embedded parts of this machine or
a server elsewhere. What is done stays done: a second run of the same config goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activedpo.client import AsyncClient
from activedpo.errors import ActiveDPOError
from activedpo.simulation.config import Fit, InvalidConfig, Noise, SimulationConfig
from activedpo.simulation.texts import read_prompts
from activedpo.types import Prompt

Report = Callable[[str], None]
LOOK_SECONDS = 1.0
HELD_OUT = 64
UPLOAD = 5_000
_GENERATION = (
    "max_new_tokens", "temperature", "top_p", "top_k", "entropy_samples", "entropy_per_token",
    "prune", "near_duplicates",
)  # fmt: skip
_TRAINING = (
    "trainer", "lora", "lora_alpha", "lora_dropout", "reset", "beta", "learning_rate", "epochs",
    "max_steps", "batch_size", "loss", "label_smoothing", "length_normalised", "max_grad_norm",
    "gradient_checkpointing", "gate",
)  # fmt: skip


class RoundFailedError(ActiveDPOError):
    """A round of the run failed; what it says is the round's own error."""


@dataclass(frozen=True)
class Arm:
    """One strategy with one seed: a project of its own."""

    strategy: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.strategy}-seed{self.seed}"


def check(config: SimulationConfig) -> None:
    """Refuse what only a simulation knows.

    Raises:
        InvalidConfig: naming the key.
    """
    if config.noise != Noise():
        raise InvalidConfig("noise: an attached oracle says what it thinks; `simulate` takes noise")
    if config.prompt_tokens is not None:
        raise InvalidConfig("prompt_tokens: only `simulate` takes this")
    read_prompts(str(config.prompts))


def base_model(config: SimulationConfig, out: Path, report: Report) -> str:
    """Folder or hub name of π_0; a `{fit: FILE}` policy is fitted once, into OUT/policy."""
    if not isinstance(config.policy, Fit):
        return config.policy
    from activedpo.simulation.fit import fit_policy
    from activedpo.simulation.store import Store
    from activedpo.simulation.texts import read_texts

    folder = out / "policy"
    if not folder.is_dir():
        report("fitting the policy")
        texts = read_texts("policy.fit", config.policy.fit)
        with Store(out).whole(folder) as scratch:
            fit_policy(config.policy, texts, scratch, lambda *_: None)
    return str(folder.absolute())


async def run(
    config: SimulationConfig, client: AsyncClient, out: Path, model: str, report: Report
) -> list[dict[str, Any]]:
    """Run every strategy and seed to its last label; one row a round, as in results.parquet.

    Args:
        model: π_0 as the server finds it.

    Raises:
        RoundFailedError: a round failed. ApiError, Unreachable: as of the client.
    """
    rows: list[dict[str, Any]] = []
    for strategy in config.strategies:
        for seed in config.seeds:
            rows += await _Run(config, client, Arm(strategy, seed), model, report).whole(out)
    return rows


class _Run:
    """One arm on the server."""

    def __init__(
        self,
        config: SimulationConfig,
        client: AsyncClient,
        arm: Arm,
        model: str,
        report: Report,
    ) -> None:
        self.config, self.client, self.arm = config, client, arm
        self.model, self.report = model, report

    async def whole(self, out: Path) -> list[dict[str, Any]]:
        project = await self._project()
        rounds = [r for r in await self._all(f"/projects/{project}/rounds") if _counts(r)]
        for number, step in enumerate(self.config.steps):
            if number < len(rounds):
                done = await self._until_done(rounds[number]["id"])
                rounds[number] = done
                continue
            await self.client.send("PATCH", f"/projects/{project}", self._size(step))
            opened = await self.client.send("POST", f"/projects/{project}/rounds")
            rounds.append(await self._until_done(opened["id"]))
        await self._keep(project, rounds[-1]["policy_out"], out / self.arm.name)
        return [self._row(r, n) for n, r in zip(self.config.labels, rounds, strict=False)]

    def _row(self, round: dict[str, Any], labels: int) -> dict[str, Any]:
        metrics = round["metrics"]
        return {
            "strategy": self.arm.strategy,
            "seed": self.arm.seed,
            "labels": labels,
            "metric": "win_rate",
            "value": metrics.get("win_rate"),
            "low": metrics.get("win_rate_low"),
            "high": metrics.get("win_rate_high"),
            "accuracy_before": metrics.get("accuracy_before"),
            "kl": metrics.get("kl"),
        }

    async def _project(self) -> str:
        """The arm's project, made and filled if it is not there yet."""
        name = f"{self.arm.name} {self._fingerprint()}"
        for project in await self._all("/projects"):
            if project["name"] == name:
                found = str(project["id"])
                break
        else:
            made = await self.client.send("POST", "/projects", {"name": name, **self._settings()})
            found = str(made["id"])
        await self._fill(found)  # prompts that are there already are counted as duplicates
        await self.client.send("PUT", f"/projects/{found}/oracle", _spec(self.config.oracle))
        return found

    def _fingerprint(self) -> str:
        said = self.config.model_dump_json(exclude={"strategies", "seeds", "labels"})
        content = Path(str(self.config.prompts)).read_bytes()
        return hashlib.sha256(said.encode() + content).hexdigest()[:12]

    def _settings(self) -> dict[str, Any]:
        config = self.config
        return {
            "base_model": self.model,
            "acquisition": self.arm.strategy,
            "cold_start": config.cold_start,
            "seed": self.arm.seed % (2**31),
            "audit_fraction": config.audit_fraction,
            "system_prompt": config.system_prompt,
            "chat": config.chat,
            "generation": {name: getattr(config, name) for name in _GENERATION},
            "training": {name: getattr(config, name) for name in _TRAINING},
            "judge": _spec(config.judged_by),
            **self._size(config.steps[0]),
        }

    def _size(self, step: int) -> dict[str, int]:
        return {"batch_size": step, "pool_size": math.ceil(self.config.pool_factor * step)}

    async def _fill(self, project: str) -> None:
        train, held = read_prompts(str(self.config.prompts))
        if not held:
            most = self.config.eval_prompts or min(HELD_OUT, len(train) // 5)
            train, held = train[: len(train) - most], train[len(train) - most :]
        for split, prompts in (("train", train), ("eval", held)):
            for start in range(0, len(prompts), UPLOAD):
                items = [_item(p, split) for p in prompts[start : start + UPLOAD]]
                await self.client.send("POST", f"/projects/{project}/prompts", {"prompts": items})

    async def _until_done(self, round_id: str) -> dict[str, Any]:
        told = ""
        while True:
            round: dict[str, Any] = await self.client.get(f"/rounds/{round_id}")
            progress, labels = round["progress"], round["labels"]
            now = f"{self.arm.name} round {round['number']}: {round['state']}"
            if round["state"] == "labelling":
                now += f" {labels['done']}/{labels['needed']}"
                await self._see_to_oracle(round["project"])
            elif progress["total"]:
                now += f" {progress['done']}/{progress['total']}"
            if now != told:
                self.report(now)
            told = now
            if round["state"] == "done":
                return round
            if round["state"] in ("failed", "cancelled"):
                error = round["error"] or "it was cancelled"
                raise RoundFailedError(f"{self.arm.name} round {round['number']}: {error}")
            await asyncio.sleep(LOOK_SECONDS)

    async def _see_to_oracle(self, project: str) -> None:
        oracle = await self.client.get(f"/projects/{project}/oracle")
        if oracle["state"] == "stopped":
            raise RoundFailedError(f"{self.arm.name}: the oracle has stopped: {oracle['error']}")

    async def _keep(self, project: str, policy: str | None, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        labels = await self.client.download(f"/projects/{project}/export", format="jsonl")
        (folder / "labels.jsonl").write_bytes(labels)
        if policy is not None:
            packed = await self.client.download(f"/policies/{policy}/download")
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                archive.extractall(folder / "policy")  # names that lead outside are cut by it

    async def _all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await self.client.get(path, limit=500, **({"cursor": cursor} if cursor else {}))
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found


def _counts(round: dict[str, Any]) -> bool:
    return bool(round["state"] != "cancelled")


def _spec(spec: Any) -> dict[str, Any]:
    return {"kind": spec.kind, **spec.settings}


def _item(prompt: Prompt, split: str) -> dict[str, Any]:
    content = prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt]
    return {"prompt": content, "split": split}


def write(rows: Sequence[dict[str, Any]], config: SimulationConfig, out: Path) -> Path:
    """Write results.parquet and report.html; the path of the first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [
        ("strategy", pa.string()), ("seed", pa.int64()), ("labels", pa.int64()),
        ("metric", pa.string()), ("value", pa.float64()), ("low", pa.float64()),
        ("high", pa.float64()), ("accuracy_before", pa.float64()), ("kl", pa.float64()),
    ]  # fmt: skip
    results = out / "results.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(fields)), results)
    (out / "report.html").write_text(_page(rows, config), encoding="utf-8")
    return results


def _page(rows: Sequence[dict[str, Any]], config: SimulationConfig) -> str:
    import html

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for strategy in config.strategies:
        for seed in config.seeds:
            mine = [r for r in rows if (r["strategy"], r["seed"]) == (strategy, seed)]
            known = [(r["labels"], r["value"]) for r in mine if r["value"] is not None]
            axes.plot(*(zip(*known, strict=True) if known else ([], [])), marker="o",
                      label=f"{strategy}, seed {seed}")  # fmt: skip
    axes.set(xlabel="labels", ylabel="win-rate against π₀", ylim=(0, 1))
    axes.legend()
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    columns = ["strategy", "seed", "labels", "value", "low", "high", "accuracy_before", "kl"]
    cells = [[_shown(row[c]) for c in columns] for row in rows]
    head = "".join(f"<th>{html.escape(c.replace('_', ' '))}</th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in cells
    )
    svg = drawn.getvalue()
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>ActiveDPO run</title>'
        "<style>body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto}"
        "td,th{padding:.2rem .8rem;text-align:right}</style><h1>Run</h1>"
        f"{svg[svg.index('<svg') :]}<table><tr>{head}</tr>{body}</table></html>"
    )


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
