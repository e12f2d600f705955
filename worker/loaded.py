"""The child's models: the last ones stay loaded, adapters are put on and taken off."""

from __future__ import annotations

import dataclasses
import gc

import activedpo as ad
from activedpo.types import Completion, Prompt
from app import artifacts
from app.settings import get_settings
from worker.work import ModelAt, Setting


class Models:
    """Policies by their place. At most the two of the current job are held."""

    def __init__(self) -> None:
        self._loaded: dict[str, ad.Policy] = {}
        self._adapted: tuple[str, ad.Policy] | None = None
        self.answers_of_base: dict[str, list[Completion]] = {}

    def of(self, setting: Setting) -> tuple[ad.Policy, ad.Policy | None]:
        """(policy, reference): with an adapter, or at the first round, the reference is None.

        None means what it means to the library: π_0 is the policy with its adapter off, or the
        policy itself.
        """
        if setting.policy.kind != "full":
            return self.policy(setting.policy), None
        keep = {self.folder(setting.policy), setting.base.base}
        policy = self._load(self.folder(setting.policy), keep)
        return policy, self._load(setting.base.base, keep)

    def policy(self, at: ModelAt) -> ad.Policy:
        """The policy alone."""
        if at.kind == "full":
            return self._load(self.folder(at))
        if at.kind == "base":
            return self._load(at.base)
        return self._with_adapter(at)

    def forget(self) -> None:
        """Drop every model, to give the memory back."""
        self._loaded, self._adapted = {}, None
        gc.collect()
        _empty_cuda_cache()

    def folder(self, at: ModelAt) -> str:
        """Where an adapter or full weights lie on this machine, fetched if they do not yet."""
        assert at.path is not None, "only the base has no folder in the store"
        cache = get_settings().home / "cache" / "policies"
        return str(artifacts.fetch_folder(at.path, at.files, cache))

    def _load(self, place: str, keep: set[str] | None = None) -> ad.Policy:
        stay = keep or {place}
        if place not in self._loaded:
            self._loaded = {name: kept for name, kept in self._loaded.items() if name in stay}
            self._adapted = None
            gc.collect()
            _empty_cuda_cache()
            settings = get_settings()
            self._loaded[place] = ad.load(place, device=settings.device, dtype=settings.dtype)
        return self._loaded[place]

    def _with_adapter(self, at: ModelAt) -> ad.Policy:
        from peft import PeftModel

        from activedpo.trainable import shared_copy

        folder = self.folder(at)
        base = self._load(at.base)
        if self._adapted is None or self._adapted[0] != folder:
            # on a copy that shares the weights: the base itself stays without an adapter
            bare = shared_copy(base.model)
            model = PeftModel.from_pretrained(bare, folder, use_safetensors=True)
            policy = dataclasses.replace(base, model=model.eval().requires_grad_(False))
            self._adapted = (folder, policy)
        return self._adapted[1]


def as_prompt(policy: ad.Policy, prompt: Prompt, setting: Setting) -> Prompt:
    """The prompt as the model is asked it.

    A text becomes one user turn behind the project's system prompt where the base has a chat
    template and the project has not switched that off; messages stay as they are.
    """
    if not isinstance(prompt, str) or setting.chat == "off" or not policy.chat:
        return prompt
    system = [{"role": "system", "content": setting.system_prompt}] if setting.system_prompt else []
    return [*system, {"role": "user", "content": prompt}]


def _empty_cuda_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
