"""Sampling by vLLM behind the same interface as `decoding.decode`, where it is installed.

    engine = VLLMEngine("folder or hub name", adapter=None)
    pairs = activedpo.generate_pairs(policy, prompts, engine=engine)

Log-probs are vLLM's own. They differ from this library's by its kernels' rounding, so
`score_pairs` should make what is compared with a reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from activedpo.decoding import Request
from activedpo.errors import MissingExtra
from activedpo.loading import Policy
from activedpo.sampling import Sample, Sampling


class VLLMEngine:
    """A vLLM in this process.

    Args:
        model: folder or hub name; the policy's base where there is an adapter.
        adapter: folder of a LoRA adapter, or None.
        options: further arguments of `vllm.LLM` (tensor_parallel_size, gpu_memory_utilization, …).

    Raises:
        MissingExtra: vLLM is not installed.
    """

    def __init__(self, model: str, adapter: str | None = None, **options: Any) -> None:
        try:
            self.vllm = import_module("vllm")
        except ImportError as error:
            raise MissingExtra("vLLM is not installed: pip install 'activedpo[vllm]'") from error
        self.adapter = adapter
        self.model = self.vllm.LLM(model=model, enable_lora=adapter is not None, **options)

    def __call__(
        self,
        policy: Policy,  # noqa: ARG002 - the weights are vLLM's own
        requests: Sequence[Request],
        sampling: Sampling,
        stops: Sequence[frozenset[int]],
        rows: int | None = None,  # noqa: ARG002 - vLLM decides
        on_sample: Callable[[int], None] | None = None,
    ) -> list[list[Sample]]:
        """Samples all requests; arguments and answer as of `decoding.decode`."""
        outputs = self.model.generate(
            [{"prompt_token_ids": list(request.prompt)} for request in requests],
            [
                self._parameters(request, number, sampling, stops[number])
                for number, request in enumerate(requests)
            ],
            use_tqdm=False,
            **self._lora(),
        )
        made = []
        for number, output in enumerate(outputs):
            made.append([_sample(c, stops[number], sampling) for c in output.outputs])
            for _ in output.outputs if on_sample else ():
                on_sample(number)  # type: ignore[misc]
        return made

    def _parameters(
        self, request: Request, number: int, sampling: Sampling, stops: frozenset[int]
    ) -> Any:
        return self.vllm.SamplingParams(
            n=request.samples,
            max_tokens=request.limit,
            temperature=sampling.temperature,
            top_p=sampling.top_p or 1.0,
            top_k=sampling.top_k or -1,
            # A stream of its own for each prompt, repeatable by the seed.
            seed=(sampling.seed * 1_000_003 + number) % 2**31,
            stop_token_ids=sorted(stops),
            ignore_eos=True,
            logprobs=0,
            detokenize=False,
        )

    def _lora(self) -> dict[str, Any]:
        if self.adapter is None:
            return {}
        request = import_module("vllm.lora.request").LoRARequest("policy", 1, self.adapter)
        return {"lora_request": request}


def _sample(completion: Any, stops: frozenset[int], sampling: Sampling) -> Sample:
    ids = [int(token) for token in completion.token_ids]
    logp = None
    if sampling.is_policy and completion.logprobs is not None:
        steps = zip(ids, completion.logprobs, strict=True)
        logp = float(sum(entry[token].logprob for token, entry in steps))
    stop = ids[-1] if ids and ids[-1] in stops else None
    return Sample(tuple(ids[:-1] if stop is not None else ids), stop, logp)
