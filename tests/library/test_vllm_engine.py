"""vLLM at its boundary: a stand-in for the package, real everything on this side of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import activedpo as ad
from activedpo.errors import MissingExtra
from activedpo.loading import Policy
from activedpo.vllm_engine import VLLMEngine

END = 1


@dataclass
class LLM:
    """What `vllm.LLM` takes and gives, and a record of it."""

    model: str
    enable_lora: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)

    def generate(self, prompts: Any, parameters: Any, use_tqdm: bool, **more: Any) -> list[Any]:
        self.calls.append({"prompts": prompts, "parameters": parameters} | more)
        return [SimpleNamespace(outputs=[completion(k) for k in range(p.n)]) for p in parameters]


def completion(k: int) -> Any:
    """The first ends after two tokens with log-probs −1, −2, −3; the others are cut."""
    ids = [70, 71, END] if k == 0 else [72 + k] * 3
    steps = [{token: SimpleNamespace(logprob=-1.0 - i)} for i, token in enumerate(ids)]
    return SimpleNamespace(token_ids=ids, logprobs=steps)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package = ModuleType("vllm")
    package.LLM = LLM  # type: ignore[attr-defined]
    package.SamplingParams = lambda **given: SimpleNamespace(**given)  # type: ignore[attr-defined]
    request = ModuleType("vllm.lora.request")
    request.LoRARequest = lambda *given: given  # type: ignore[attr-defined]
    for name, module in {
        "vllm": package,
        "vllm.lora": ModuleType("vllm.lora"),
        "vllm.lora.request": request,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return package


def test_pairs_come_out_as_from_the_engine_of_this_process(
    policy: Policy, vllm: ModuleType
) -> None:
    engine = VLLMEngine("somewhere")
    (pair,) = ad.generate_pairs(policy, ["ab"], max_new_tokens=3, seed=4, engine=engine)
    assert pair.tokens_a == (70, 71)
    assert (pair.finished_a, pair.finished_b) == (True, False)
    assert (pair.logp_a, pair.logp_b) == (-6.0, -6.0)
    assert pair.prompt_tokens == tuple(policy.tokenizer("ab")["input_ids"])
    ad.score_pairs(policy, [pair])


def test_what_vllm_is_asked_for(policy: Policy, vllm: ModuleType) -> None:
    engine = VLLMEngine("somewhere")
    ad.generate_pairs(policy, ["ab", "c"], max_new_tokens=9, temperature=0.7, engine=engine)
    (call,) = engine.model.calls
    first, second = call["parameters"]
    assert (first.n, first.max_tokens, first.temperature) == (2, 9, 0.7)
    assert (first.top_k, first.top_p, first.stop_token_ids) == (-1, 1.0, [END])
    assert first.seed != second.seed
    assert "lora_request" not in call


def test_log_probs_of_another_temperature_are_not_the_policys(
    policy: Policy, vllm: ModuleType
) -> None:
    engine = VLLMEngine("somewhere")
    (pair,) = ad.generate_pairs(policy, ["ab"], temperature=0.7, engine=engine)
    assert pair.logp_a is None


def test_an_adapter_goes_along(policy: Policy, vllm: ModuleType) -> None:
    engine = VLLMEngine("somewhere", adapter="folder")
    assert engine.model.enable_lora
    ad.generate_pairs(policy, ["ab"], engine=engine)
    assert engine.model.calls[0]["lora_request"] == ("policy", 1, "folder")


def test_progress_and_entropy_work_on_it_too(policy: Policy, vllm: ModuleType) -> None:
    seen: list[tuple[int, int]] = []
    entropy = ad.prompt_entropy(
        policy,
        ["ab", "c"],
        n=3,
        engine=VLLMEngine("somewhere"),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert entropy.tolist() == [6.0, 6.0]
    assert seen[-1] == (6, 6)


def test_without_vllm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"activedpo\[vllm\]"):
        VLLMEngine("somewhere")
