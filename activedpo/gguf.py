"""Turn a GGUF file into a folder that any loader of Hugging Face models takes.

Run in a process of its own (``python -m activedpo.gguf FILE OUT --name NAME``), so that its
memory goes back when it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from activedpo.errors import TokenizerMismatch

PROBES = ("Hello, world!  Two spaces,\n\ta tab; 2024 and 3.14.", "Größe, naïve, 日本語, 🙂")


def convert(file: str | Path, out: str | Path, name: str) -> Path:
    """Write the model and tokenizer of a GGUF file as a safetensors folder, whole or not at all.

    Args:
        file: the GGUF file; quantised weights are made plain numbers again.
        out: the folder to make; one that is there is kept as it is.
        name: the model's hub name, written into its configuration.

    Returns:
        ``out``. Weights are stored as bfloat16: 4-bit weights hold no more than that, and it
        halves the disk and the reading time.

    Raises:
        TokenizerMismatch: the tokenizer does not give back the text it was given.
    """
    file, out = Path(file), Path(out)
    if out.is_dir():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        _write_tokenizer(file, fresh)
        _write_model(file, fresh, name)
        os.replace(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return out


def _write_model(file: Path, folder: Path, name: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
    )
    # Saved with them, the plain weights would be taken for quantised ones
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    # GGUF keeps it as float32: 9.999999747e-06 was 1e-05
    model.config.rms_norm_eps = float(f"{model.config.rms_norm_eps:.6g}")
    model.to(torch.bfloat16).save_pretrained(folder)
    config = folder / "config.json"
    known = json.loads(config.read_text()) | {"_name_or_path": name}
    known.pop("_model_name_or_path", None)
    config.write_text(json.dumps(known, indent=2) + "\n")


def _write_tokenizer(file: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        file.parent, gguf_file=file.name, trust_remote_code=False
    )
    for text in PROBES:
        if tokenizer.decode(tokenizer(text)["input_ids"]) != text:
            raise TokenizerMismatch(f"the tokenizer in {file} does not give back {text!r}")
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description="Turn a GGUF file into a safetensors folder.")
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", required=True, help="the model's hub name")
    options = parser.parse_args()
    convert(options.file, options.out, options.name)


if __name__ == "__main__":
    main()
