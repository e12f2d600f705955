"""What is said where a disk or the artefact store takes nothing more."""

from __future__ import annotations

import errno

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CLOSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOENT})


def full(error: BaseException, where: str) -> str | None:
    """A sentence for the round's page where ``error`` says that a disk is full, else None."""
    # safetensors writes in Rust, and its error has the number in its text alone
    told = str(error) if type(error).__name__ == "SafetensorError" else ""
    code = error.errno if isinstance(error, OSError) else None
    if code in FULL or any(f"(os error {number})" in told for number in FULL):
        return f"the disk is full: {where} takes no more. Free space there, then retry"
    return None


def closed(error: OSError, where: str) -> str | None:
    """The same where ``where`` is full, read-only or gone; None where it may be over soon."""
    if error.errno in CLOSED:
        return f"{where} cannot be written ({type(error).__name__}): mend it, then retry"
    return full(error, where)
