"""A policy: a causal language model with its tokenizer, loaded safely and ready to score.

Safetensors only and never remote code: a downloaded file must not be able to run anything.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from activedpo.errors import (
    DeviceUnavailable,
    ModelMismatch,
    ModelNotFound,
    NoWeights,
    TokenizerMismatch,
)

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt"),
    *("merges.txt", "chat_template.jinja", "chat_template.json"),
)
LARGEST_TOKENIZER_FILE = 128 << 20
"""Bytes of one of these files; they are read and parsed whole. The largest in use (Gemma 3's
tokenizer.json) has 33 MB."""


@dataclass(slots=True)
class Policy:
    """A language model that writes and scores completions.

    Args:
        model: a Hugging Face causal LM, or a PEFT model around one, in eval mode.
        tokenizer: its tokenizer, with a pad token.
        name: where it was loaded from: folder or hub name.
        initial: the policy that training started from, for full weights trained by this library:
            the reference that `reference=None` means. None: the policy itself, as loaded, or with
            an adapter the model with the adapter switched off.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    name: str
    initial: Policy | None = None
    packs: bool | None = field(default=None, repr=False)
    """Whether the architecture takes the block mask; None until `packing.can_pack` tried it."""
    flex: bool = field(default=False, repr=False)
    """Whether packed rows run by FlexAttention, in one line; set by the same trial."""
    slots: bool | None = field(default=None, repr=False)
    """Whether it decodes from slots; None until `decoding.can_slot` tried it."""

    @property
    def has_adapter(self) -> bool:
        return hasattr(self.model, "peft_config")

    @property
    def base(self) -> PreTrainedModel:
        """The Hugging Face model, adapter layers inside where there is an adapter."""
        return self.model.get_base_model() if self.has_adapter else self.model

    @property
    def chat(self) -> bool:
        """True where the tokenizer has a chat template."""
        return bool(self.tokenizer.chat_template)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.base.get_input_embeddings().weight.dtype
        return dtype

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding: every token id must lie below."""
        return int(self.base.get_input_embeddings().weight.shape[0])

    @property
    def context(self) -> int:
        """Longest sequence in tokens, prompt and completion together."""
        config = self.base.config.get_text_config()
        for key in ("max_position_embeddings", "n_positions", "max_seq_len"):
            if getattr(config, key, None):
                return int(getattr(config, key))
        return 1 << 20  # recurrent models and ALiBi set no limit

    @contextlib.contextmanager
    def adapter_off(self) -> Iterator[None]:
        """Inside, the model computes as its base: π_0 where the adapter is all that was trained."""
        if not self.has_adapter:
            yield
            return
        with self.model.disable_adapter():
            yield

    def base_without_adapter(self) -> PreTrainedModel:
        """A model that shares the base's weights and has no adapter layers."""
        bare = copy.deepcopy(self.model, {id(t): t for t in self.base.parameters()})
        return bare.unload()

    def save(self, folder: str | Path, base_name: str | None = None) -> str:
        """Writes adapter or full weights as safetensors, with the tokenizer.

        Args:
            folder: made if absent.
            base_name: what an adapter's config names as its base: a hub id or a neutral name.
                Default: the last part of the base's own name, never a path of this machine.
        """
        neutral = base_name or neutral_name(self.name)
        with quiet():
            self.model.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))
        if self.has_adapter:
            _set_json(Path(folder) / "adapter_config.json", "base_model_name_or_path", neutral)
            # PEFT's model card names the base by its path on this machine.
            (Path(folder) / "README.md").unlink(missing_ok=True)
        return str(folder)


def neutral_name(name: str) -> str:
    """A model's name without the folders of this machine; a hub id stays whole."""
    path = Path(name)
    is_folder = path.is_absolute() or path.exists() or len(path.parts) > 2
    return path.name if is_folder else name


def _set_json(file: Path, key: str, value: str) -> None:
    entries = json.loads(file.read_text(encoding="utf-8"))
    entries[key] = value
    file.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load(
    name: str | Path,
    adapter: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Policy:
    """Loads a policy from a folder or the Hugging Face hub.

    Args:
        name: folder or hub name of a causal LM; a folder that holds only a PEFT adapter loads the
            base that its config names.
        adapter: folder or hub name of a PEFT adapter to put on top.
        device: "cpu", "cuda", "cuda:1", "mps", ...; default: a GPU where there is one.
        dtype: "float32", "bfloat16", ... or a torch dtype; default: bfloat16 on a GPU that has it,
            else float32.

    Raises:
        ModelNotFound, NoWeights, ModelMismatch, TokenizerMismatch, DeviceUnavailable: each says
            what to do.
    """
    name = str(name)
    if adapter is None and _is_adapter(Path(name)):
        name, adapter = _base_of(Path(name)), name
    _check_folder(name)
    target = pick_device(device)
    with quiet():
        tokenizer = _load_tokenizer(name)
        model = _load_model(name, pick_dtype(dtype, target))
        _check_fit(name, tokenizer, model)
        if adapter is not None:
            model = _put_on(model, str(adapter))
    model = model.to(target).eval().requires_grad_(False)
    return Policy(model=model, tokenizer=tokenizer, name=name)


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device to use; raises DeviceUnavailable where this machine lacks it."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise DeviceUnavailable(f"device {device!r} is none that torch knows: try 'cpu'") from error
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (wanted.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(wanted.type, True):
        raise DeviceUnavailable(
            f"device {str(device)!r} was asked for, but torch sees none on this machine: "
            "use device='cpu' or install a driver and a torch build for it"
        )
    return wanted


def pick_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The weights' dtype: as asked, else bfloat16 on a GPU that has it and float32 elsewhere."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is None:
        modern = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if modern else torch.float32
    found = getattr(torch, dtype.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype {dtype!r} is none: use 'float32', 'bfloat16' or 'float16'")
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers' own progress bars: progress is the caller's to show."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def _base_of(folder: Path) -> str:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    base = config.get("base_model_name_or_path")
    if not base:
        raise ModelMismatch(
            f"{folder} holds an adapter that names no base: load(base, adapter={str(folder)!r})"
        )
    return str(base)


def _check_folder(name: str) -> None:
    folder = Path(name)
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith(("./", "../", "~")) or folder.is_file():
            raise ModelNotFound(f"no model folder at {name!r}: check the path")
        return
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"folder {name!r} has no config.json: it is not a model folder")
    if not any(folder.glob("*.safetensors")):
        old = sorted(file.name for file in folder.glob("*.bin"))
        hint = f" (only {old[0]}: convert it with save_pretrained)" if old else ""
        raise NoWeights(f"folder {name!r} has no *.safetensors weights{hint}")


def _check_tokenizer_files(name: str) -> None:
    """Refuse files that would fill the memory, before any is parsed; those of the hub are fetched
    for it and found in the cache afterwards."""
    for file in TOKENIZER_FILES:
        try:
            path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        except (OSError, ValueError):
            return  # it cannot be had, and whoever loads it next says why
        size = Path(path).stat().st_size if path else 0
        if size > LARGEST_TOKENIZER_FILE:
            raise ModelMismatch(
                f"{file} of {name!r} has {size:,} bytes, and at most {LARGEST_TOKENIZER_FILE:,} "
                "are read: that is no tokenizer"
            )


def _load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    _check_tokenizer_files(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise _explained(name, "tokenizer", error) from error
    if tokenizer.eos_token_id is None:
        raise ModelMismatch(f"the tokenizer of {name!r} has no end token: set its eos_token")
    if tokenizer.pad_token_id is None:
        # Pads are always masked, so any id does.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load_model(name: str, dtype: torch.dtype) -> PreTrainedModel:
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        return AutoModelForCausalLM.from_pretrained(
            name, config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        raise _explained(name, "model", error) from error


def _explained(name: str, what: str, error: Exception) -> Exception:
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "safetensors" in str(error) and not Path(name).is_dir():
        return NoWeights(f"{name!r} has no safetensors weights on the hub: {first_line}")
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        return ModelMismatch(f"{name!r} needs code of its own, which is never run: {first_line}")
    if Path(name).is_dir():
        return ModelMismatch(f"the {what} in folder {name!r} cannot be loaded: {first_line}")
    return ModelNotFound(
        f"no {what} {name!r}: neither a folder here nor reachable on the hub ({first_line})"
    )


def _check_fit(name: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    # Added tokens may lie beyond the embedding (Gemma 3's image token does) as long as nobody
    # writes them: encoding checks each id. The core vocabulary may not.
    beyond = [i for i in (tokenizer.eos_token_id, tokenizer.bos_token_id) if i and i >= rows]
    if tokenizer.vocab_size > rows or beyond:
        raise TokenizerMismatch(
            f"the tokenizer of {name!r} has {tokenizer.vocab_size} tokens, but the model embeds "
            f"only {rows}: they do not belong together"
        )


def _put_on(model: PreTrainedModel, adapter: str) -> Any:
    from peft import PeftModel

    if Path(adapter).is_dir() and not any(Path(adapter).glob("*.safetensors")):
        raise NoWeights(f"adapter folder {adapter!r} has no *.safetensors weights")
    if not Path(adapter).is_dir() and Path(adapter).is_absolute():
        raise ModelNotFound(f"no adapter folder at {adapter!r}: check the path")
    try:
        return PeftModel.from_pretrained(model, adapter, use_safetensors=True)
    except (RuntimeError, ValueError, KeyError, SafetensorError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ModelMismatch(f"adapter {adapter!r} does not fit its base: {first_line}") from error
    except OSError as error:
        raise ModelNotFound(f"no adapter {adapter!r}, neither here nor on the hub") from error
