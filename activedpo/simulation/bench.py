"""What all rounds of a simulation share: π_0, prompts, oracle and judge, loaded once a process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from activedpo.encoding import encode_pair, encode_prompt
from activedpo.errors import (
    ContextOverflow,
    DeviceUnavailable,
    EmptyCompletion,
    EmptyPrompt,
    ModelMismatch,
    ModelNotFound,
    NoWeights,
)
from activedpo.loading import Policy, load
from activedpo.oracles import Oracle
from activedpo.simulation import judges
from activedpo.simulation.config import Fit, InvalidConfig, SimulationConfig
from activedpo.simulation.store import Store
from activedpo.simulation.texts import Recorded, read_labels, read_prompts, turns
from activedpo.types import Completion, Prompt

EVAL_SEED = 20_240_214
"""Of the samples that are compared: one for all arms, so that they differ by the policy alone."""

LARGEST_EVAL = 256


def derive(*parts: int) -> int:
    """A seed out of others, one for each purpose."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


@dataclass(frozen=True, slots=True)
class Split:
    """What is labelled on, and what is held out."""

    train: list[Any]
    held: list[Any]


class Bench:
    """One simulation's shared parts.

    Args:
        config: checked, with absolute paths.
        store: its folder.
        labels_file: recorded labels; None where an oracle labels generated pairs.
    """

    def __init__(
        self, config: SimulationConfig, store: Store, labels_file: str | None = None
    ) -> None:
        self.config, self.store, self.labels_file = config, store, labels_file

    @property
    def metric(self) -> str:
        return "accuracy" if self.labels_file else "win_rate"

    @property
    def base_path(self) -> str:
        """Where π_0 lies."""
        fitted = isinstance(self.config.policy, Fit)
        return str(self.store.root / "policy") if fitted else str(self.config.policy)

    @cached_property
    def base(self) -> Policy:
        """π_0; raises InvalidConfig where it cannot be loaded."""
        try:
            return load(self.base_path, device=self.config.device, dtype=self.config.dtype)
        except DeviceUnavailable as error:
            raise InvalidConfig(f"device: {error}") from error
        except (ModelNotFound, NoWeights, ModelMismatch) as error:
            raise InvalidConfig(f"policy: {error}") from error

    @cached_property
    def oracle(self) -> Oracle:
        return judges.make("oracle", self.config.oracle)

    @cached_property
    def judge(self) -> Oracle:
        return judges.make("judge", self.config.judged_by)

    @cached_property
    def prompts(self) -> Split:
        """Prompts as the policy is asked them."""
        train, held = read_prompts(str(self.config.prompts))
        train, held = self._asked(train), self._asked(held)
        wanted = self.config.eval_prompts
        split = _hold_out(train, wanted) if not held else Split(train, held[:wanted])
        if not split.train or not split.held:
            raise InvalidConfig(
                f"prompts: {len(train)} usable prompts are too few to hold some out for evaluation"
            )
        return split

    @cached_property
    def recorded(self) -> Split:
        """Recorded pairs that fit the model; pairs of one prompt are never on both sides."""
        by_prompt: dict[str, list[Recorded]] = {}
        for row in self._fitting(read_labels(str(self.labels_file))):
            by_prompt.setdefault(json.dumps(row.pair.prompt), []).append(row)
        split = _hold_out(list(by_prompt.values()), self.config.eval_prompts)
        if not split.train or not split.held:
            raise InvalidConfig(
                "labels file: pairs of two prompts at least are needed that fit the model's "
                f"context of {self.base.context} tokens"
            )
        flat = [[row for group in part for row in group] for part in (split.train, split.held)]
        return Split(*flat)

    def policy(self, arm: str, seed: int, rounds: int) -> Policy:
        """The policy after that many rounds."""
        for number in range(rounds, 0, -1):
            folder = self.store.policy_folder(arm, seed, number)
            if folder is not None:
                return self._load_trained(str(folder))
        return self.base

    def _load_trained(self, folder: str) -> Policy:
        place = {"device": self.config.device, "dtype": self.config.dtype}
        if self.config.lora:
            return load(self.base_path, adapter=folder, **place)
        return load(folder, **place)

    def reference(self, policy: Policy) -> Policy | None:
        """π_0 as `score_pairs` wants it: None where switching the adapter off gives it."""
        return None if policy.has_adapter or policy is self.base else self.base

    def base_answers(self) -> list[Completion]:
        """π_0's answers to the evaluation prompts, made once and kept."""
        file = self.store.root / "reference.json"
        if not file.is_file():
            from activedpo.generation import generate

            made = generate(
                self.base,
                self.prompts.held,
                max_new_tokens=self.config.max_new_tokens,
                temperature=self.config.eval_temperature,
                seed=EVAL_SEED,
            )
            rows = [[c.text, list(c.tokens), c.finished] for (c,) in made]
            self.store.write_json(file, rows)
        return [Completion(t, tuple(ids), done) for t, ids, done in self.store.read_json(file)]

    def _asked(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """As the policy is asked them; those that leave no room for an answer are left out."""
        cut = [self._cut(prompt, index) for index, prompt in enumerate(prompts)]
        distinct = {json.dumps(prompt): prompt for prompt in cut if prompt}
        asked = [self._in_chat(prompt) for prompt in distinct.values()]
        room = self.base.context - 1
        return [prompt for prompt in asked if len(encode_prompt(self.base, prompt)) <= room]

    def _fitting(self, rows: Sequence[Recorded]) -> Iterator[Recorded]:
        for index, row in enumerate(rows):
            pair = replace(row.pair, prompt=self._in_chat(row.pair.prompt))
            if isinstance(row.pair.prompt, str) and not isinstance(pair.prompt, str):
                # The blank behind "Assistant:" is no part of a message.
                pair = replace(
                    pair,
                    completion_a=pair.completion_a.strip(),
                    completion_b=pair.completion_b.strip(),
                )
            try:
                encode_pair(self.base, pair, index)
            except (ContextOverflow, EmptyPrompt, EmptyCompletion):
                continue
            yield replace(row, pair=pair)

    def _cut(self, prompt: Prompt, index: int) -> Prompt | None:
        """The first tokens of a text prompt; None where it has too few."""
        wanted = self.config.prompt_tokens
        if wanted is None or not isinstance(prompt, str):
            return prompt
        low, high = (wanted, wanted) if isinstance(wanted, int) else wanted
        count = int(np.random.default_rng([index, 2]).integers(low, high + 1))
        ids = self.base.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        # Whole texts leave nothing to complete.
        return str(self.base.tokenizer.decode(ids[:count])) if len(ids) > count else None

    def _in_chat(self, prompt: Prompt) -> Prompt:
        """A text prompt to a chat model is one user turn behind the system prompt; a dialogue in
        hh's form is its turns.
        """
        if not isinstance(prompt, str) or not self.base.chat or self.config.chat == "off":
            return prompt
        system = self.config.system_prompt
        head = [{"role": "system", "content": system}] if system else []
        return [*head, *(turns(prompt) or [{"role": "user", "content": prompt}])]


def _hold_out(items: list[Any], count: int | None) -> Split:
    """`count` of them at random (default a fifth, 256 at most), the same for all seeds."""
    if count is None:
        count = min(LARGEST_EVAL, max(1, len(items) // 5))
    order = np.random.default_rng([len(items), 3]).permutation(len(items))
    held = set(order[: min(count, len(items) - 1)].tolist())
    kept = [item for i, item in enumerate(items) if i not in held]
    return Split(kept, [item for i, item in enumerate(items) if i in held])


def use_threads(jobs: int) -> None:
    """Shares the cores among processes."""
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
