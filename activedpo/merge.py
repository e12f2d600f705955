"""`python -m activedpo.merge BASE OUT --adapter FOLDER`: base and adapter as one full model.

A process of its own, so that whoever asks need not hold torch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from activedpo.errors import ActiveDPOError


def merge(base: str, out: str | Path, adapter: str | Path | None = None) -> None:
    """Write a full model that plain `transformers` loads.

    Args:
        base: folder or hub name.
        out: folder to write to; it gets safetensors, configuration and tokenizer.
        adapter: folder of a PEFT adapter; without one the base itself is written.

    Raises:
        ActiveDPOError: the base or the adapter cannot be loaded; the message says why.
    """
    from activedpo.loading import load

    policy = load(base, adapter=str(adapter) if adapter is not None else None, device="cpu")
    model = policy.model
    if adapter is not None:
        model = model.merge_and_unload(safe_merge=True)
    model.save_pretrained(out, safe_serialization=True)
    policy.tokenizer.save_pretrained(out)


def main() -> None:
    """Parse the command line and merge; what went wrong is the last line on stderr."""
    parser = argparse.ArgumentParser(description="Merge an adapter into its base model.")
    parser.add_argument("base")
    parser.add_argument("out")
    parser.add_argument("--adapter")
    options = parser.parse_args()
    try:
        merge(options.base, options.out, options.adapter)
    except ActiveDPOError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
