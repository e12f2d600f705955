"""Two whole rounds by REST on a running stack, then every promise about what comes out of it.

    python bench/two_rounds.py --url http://127.0.0.1:8000 --key KEY --prompts FILE.jsonl

A scripted oracle labels by a rule (the completion with more different words wins). Checked
afterwards: the `trl` export trains in plain `trl.DPOTrainer` with no change, and the downloaded
adapter, loaded by plain `peft`, gives the log-probabilities that the worker stored.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx


class Stack:
    """The few calls of the contract that a researcher's script needs."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=120)

    def call(self, method: str, path: str, **more: Any) -> Any:
        answer = self.http.request(method, path, **more)
        answer.raise_for_status()
        return answer.json()

    def until(self, round_id: str, *states: str) -> dict[str, Any]:
        """Wait for a round to be in one of ``states``."""
        while True:
            round = self.call("GET", f"/rounds/{round_id}")
            if round["state"] in states:
                return round
            if round["state"] in ("failed", "cancelled"):
                raise SystemExit(f"round {round['number']} {round['state']}: {round['error']}")
            time.sleep(1)


def judge(left: str, right: str) -> str:
    """The scripted oracle."""
    words = [len(set(text.lower().split())) for text in (left, right)]
    return "tie" if words[0] == words[1] else ("left" if words[0] > words[1] else "right")


def run_rounds(stack: Stack, prompts: list[str], count: int) -> tuple[str, list[dict[str, Any]]]:
    """A project of ``prompts`` and ``count`` rounds of it, labelled by :func:`judge`."""
    settings = {
        "name": f"two rounds {time.time():.0f}",
        "batch_size": 8,
        "pool_size": 32,
        "audit_fraction": 0.25,
        "generation": {"max_new_tokens": 48},
        "training": {"lora": 16, "max_steps": 12, "learning_rate": 2e-4, "ties": "drop"},
    }
    project = stack.call("POST", "/projects", json=settings)["id"]
    rows = [{"prompt": prompt} for prompt in prompts]
    print(stack.call("POST", f"/projects/{project}/prompts", json={"prompts": rows}))
    rounds = []
    for _ in range(count):
        began = time.monotonic()
        opened = stack.call("POST", f"/projects/{project}/rounds")["id"]
        stack.until(opened, "labelling")
        pairs_after = time.monotonic() - began
        while items := stack.call("POST", f"/projects/{project}/claims", json={"count": 8})[
            "items"
        ]:
            for held in items:
                choice = {"choice": judge(held["left"], held["right"])}
                stack.call("POST", f"/claims/{held['id']}/preference", json=choice)
        labelled = time.monotonic()
        round = stack.until(opened, "done")
        rounds.append(round)
        shown = {k: v for k, v in round["metrics"].items() if not isinstance(v, list | dict)}
        print(
            f"round {round['number']}: pairs after {pairs_after:.0f} s, "
            f"policy {time.monotonic() - labelled:.0f} s after the last label\n  {shown}"
        )
    return project, rounds


def check_export(stack: Stack, project: str, base: Path, work: Path) -> None:
    """Train plain ``trl.DPOTrainer`` on the export, as it came."""
    text = stack.http.get(f"/projects/{project}/export", params={"format": "trl"}).text
    file = work / "export.jsonl"
    file.write_text(text)
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    rows = load_dataset("json", data_files=str(file), split="train")
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        args=DPOConfig(
            output_dir=str(work / "trl"),
            max_steps=2,
            per_device_train_batch_size=2,
            report_to=[],
            use_cpu=True,
            bf16=False,
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(r=8, task_type="CAUSAL_LM"),
    )
    loss = trainer.train().training_loss
    print(f"trl export: {len(rows)} rows {rows.column_names}, DPOTrainer loss {loss:.4f}")


def check_adapter(stack: Stack, project: str, policy_id: str, base: Path, work: Path) -> None:
    """Plain ``peft`` on the download against the log-probabilities that the worker stored."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    answer = stack.http.get(f"/policies/{policy_id}/download")
    answer.raise_for_status()
    folder = work / "adapter"
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    print("adapter's base:", config["base_model_name_or_path"])
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, folder).eval()
    lines = stack.http.get(f"/projects/{project}/export", params={"format": "jsonl"}).text
    worst, count = 0.0, 0
    for row in map(json.loads, lines.splitlines()):
        if row["policy"] != policy_id:
            continue
        for side in "ab":
            prompt, completion = row["tokens_prompt"], row[f"tokens_{side}"]
            end = [stack_end(base)] if row[f"finished_{side}"] else []
            ids = torch.tensor([prompt + completion + end])
            with torch.no_grad():
                logps = model(ids).logits[0, :-1].log_softmax(-1)
            told = logps.gather(1, ids[0, 1:, None])[len(prompt) - 1 :].sum().item()
            worst = max(worst, abs(told - row[f"logp_{side}"]) / abs(told))
            count += 1
    print(f"adapter in plain peft: {count} completions, worst relative difference {worst:.2e}")


def stack_end(base: Path) -> int:
    """The end token of the base's chat template."""
    config = json.loads((base / "tokenizer_config.json").read_text())
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    return int(tokenizer.convert_tokens_to_ids(config.get("eos_token", tokenizer.eos_token)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", required=True)
    parser.add_argument("--prompts", type=Path, required=True, help='JSON Lines with "prompt"')
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--count", type=int, default=60)
    args = parser.parse_args()
    texts = [json.loads(line)["prompt"] for line in args.prompts.open()][: args.count]
    stack = Stack(args.url, args.key)
    project, rounds = run_rounds(stack, texts, 2)
    with tempfile.TemporaryDirectory() as folder:
        check_adapter(stack, project, rounds[0]["policy_out"], args.base, Path(folder))
        check_export(stack, project, args.base, Path(folder))


if __name__ == "__main__":
    main()
