"""A tiny random transformer and tokenizer, made on the spot for tests and examples.

The model runs the real code paths in milliseconds on a CPU. Its tokenizer maps every UTF-8 byte to
one token, so any text can be encoded and no file has to be downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PAD, END = "<pad>", "<|im_end|>"
SPECIAL = [PAD, END, "<|im_start|>"]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 64}
_PLAIN = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_GROUPED = _PLAIN | {"num_key_value_heads": 2}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": _GROUPED | {"head_dim": 8},
    "gemma2": _GROUPED | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16},
    "gemma3_text": _GROUPED
    | {
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": 16,
        "sliding_window_pattern": 2,
    },
    "mistral": _GROUPED | {"head_dim": 8, "sliding_window": 16},
    "gpt2": _GPT2,
    "gpt_neox": _PLAIN,
    "phi": _PLAIN,
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 64,
        "word_embed_proj_dim": 32,
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
}
"""Settings of the tiny model by Hugging Face `model_type`."""


def tiny_tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with pad and end token; with `chat`, a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, pad_token=PAD)
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_causal_lm(
    arch: str = "llama", seed: int = 0, vocabulary: int = 259, context: int = 512, **settings: Any
) -> PreTrainedModel:
    """A random causal language model of about 30,000 weights, the same for the same seed."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = ARCHITECTURES[arch] | {
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "initializer_range": 0.2,
        "init_std": 0.2,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
    }
    config = AutoConfig.for_model(arch, **(sizes | settings))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    return model.eval()


def tiny_model(
    path: str | Path, arch: str = "llama", chat: bool = True, seed: int = 0, **settings: Any
) -> str:
    """Saves a tiny random model and its tokenizer as a safetensors folder.

    Args:
        path: folder to make.
        arch: a Hugging Face `model_type` out of `ARCHITECTURES`.
        chat: with a chat template, or plain text only.
        seed: of the random weights.
        settings: further entries of the model's config (`context=` for its length).

    Returns:
        The folder as `str`, ready for `activedpo.load`.
    """
    tiny_causal_lm(arch, seed=seed, **settings).save_pretrained(str(path))
    tiny_tokenizer(chat).save_pretrained(str(path))
    return str(path)
