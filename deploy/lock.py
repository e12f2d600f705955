"""Writes the lock files from what is installed: ``python deploy/lock.py UV``.

``requirements.lock`` has every package that the project and its tests need, and what those need, in
the version that is installed here, with the SHA-256 of every file of that release, so that one
lock serves every platform. ``requirements-torch.lock`` has torch alone and no hash: its
builds for the processor and for CUDA come from different indexes and differ in theirs.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
TORCH = ROOT / "requirements-torch.lock"
HEAD = (
    "# What was tested together: every package, exactly, with the hashes of its files. Made by\n"
    "# `make lock`; torch is installed first, from requirements-torch.lock.\n"
)
LEFT_OUT = {"torch", "triton", "setuptools"}
"""What comes with torch's build, and the tool that every virtual environment brings."""

ELSEWHERE = ("async-timeout==5.0.1 ; python_full_version < '3.11.3'",)
"""What packages need on an older Python than the one that locks: a test names what is missing."""


def wanted() -> list[Requirement]:
    """What ``pyproject.toml`` names, with the tests' and the build's tools."""
    file = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = file["project"]
    optional = project["optional-dependencies"]["dev"]
    return [
        Requirement(one)
        for one in (*project["dependencies"], *optional, *file["build-system"]["requires"])
    ]


def installed(first: list[Requirement]) -> dict[str, str]:
    """Version by name of these packages and all that they need here, as far as installed.

    Raises:
        SystemExit: one that the project names is missing.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [(one, True) for one in first]
    while queue:
        need, named = queue.pop()
        name, extras = canonicalize_name(need.name), frozenset(need.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            package = distribution(need.name)
        except PackageNotFoundError:
            if named:
                raise SystemExit(f"{need.name} is not installed: install it, then lock") from None
            continue
        found[package.metadata["Name"]] = package.version
        for text in package.requires or []:
            inner = Requirement(text)
            if inner.marker is None or any(
                inner.marker.evaluate({"extra": extra}) for extra in ("", *extras)
            ):
                queue.append((inner, False))
    return found


def hashed(uv: str, pins: list[str]) -> str:
    """The pins, each with the hashes of all files of its release, as the package index has them.

    Raises:
        CalledProcessError: the index cannot be reached, or does not have a version.
    """
    ran = subprocess.run(  # noqa: S603
        [
            *(
                uv,
                "pip",
                "compile",
                "-",
                "--no-deps",
                "--generate-hashes",
                "--no-header",
                "--universal",
            ),
            *("--no-annotate", "--quiet", "--default-index", "https://pypi.org/simple"),
        ],
        input="\n".join(pins),
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(f"no hashes, nothing was written:\n{ran.stderr[-2000:]}")
    return ran.stdout


def main(uv: str) -> None:
    """Write both files."""
    found = installed(wanted())
    torch = next(v for name, v in found.items() if canonicalize_name(name) == "torch")
    pins = [
        f"{name}=={version}"
        for name, version in sorted(found.items(), key=lambda item: item[0].lower())
        if canonicalize_name(name) not in LEFT_OUT and not name.lower().startswith("nvidia-")
    ]
    LOCK.write_text(HEAD + hashed(uv, sorted([*pins, *ELSEWHERE], key=str.lower)))
    TORCH.write_text(f"torch=={torch.partition('+')[0]}\n")
    sys.stdout.write(f"{len(pins)} packages and torch are locked\n")


if __name__ == "__main__":
    main(sys.argv[1])
