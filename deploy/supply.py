"""What this product is made of: the licences of its packages, and whether advisories name them.

    python deploy/supply.py licences              writes docs/licences.md
    python deploy/supply.py audit PIP_AUDIT       asks for known vulnerabilities

``audit`` ends with 0 (none known), 1 (some are) or 2 (nobody could be asked: nothing was audited).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK, TORCH = ROOT / "requirements.lock", ROOT / "requirements-torch.lock"
PAGE = ROOT / "docs" / "licences.md"
UNREACHABLE = 2
CLASSIFIER = "License :: OSI Approved :: "
LONGEST = 60
"""A `License` field that is longer is the licence's text, not its name."""

ELSEWHERE = {"async-timeout": "Apache-2.0"}
"""What an older Python needs besides, and this one does not have."""

HEAD = """# Licences of the packages it is installed with

Written by `make licences` from the packages' own metadata; a test fails where a package of
`requirements.lock` is missing here, or where one outside the tests is under the GPL. ActiveDPO
itself is under [Apache-2.0](../LICENSE). htmx and its extension lie in `app/static/vendor`, with
their licences beside them.

| package | licence |
| --- | --- |
"""


def locked(*locks: Path) -> dict[str, str]:
    """Version by name of every package that is installed."""
    text = "\n".join(lock.read_text() for lock in locks or (LOCK, TORCH))
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ \\\n]+)", text, re.M))


def licence_of(package: str) -> str:
    """What a package says of itself: the expression, else the classifiers, else the short field."""
    try:
        said = metadata(package)
    except PackageNotFoundError:
        return ELSEWHERE.get(package, "not installed here")
    if expression := said.get("License-Expression"):
        return str(expression)
    classified = [
        value.removeprefix(CLASSIFIER)
        for value in said.get_all("Classifier") or []
        if value.startswith(CLASSIFIER)
    ]
    field = (said.get("License") or "").strip()
    short = field if field and len(field) <= LONGEST and "\n" not in field else ""
    return ", ".join(classified) or short or "see its own files"


def page(packages: dict[str, str]) -> str:
    """The table."""
    rows = [f"| {name} | {licence_of(name)} |" for name in sorted(packages, key=str.lower)]
    return HEAD + "\n".join(rows) + "\n"


def verdict(report: dict[str, Any]) -> tuple[int, str]:
    """Exit code and words of pip-audit's JSON; that it skipped everything is no clean bill."""
    packages = report.get("dependencies", [])
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    if len(skipped) == len(packages):
        return UNREACHABLE, "NOT AUDITED: the advisories could not be reached from here."
    known = [
        f"{one['name']} {one['version']}: {', '.join(v['id'] for v in one['vulns'])}"
        + (f" (mended in {', '.join(fixed)})" if (fixed := _mended(one)) else "")
        for one in packages
        if one.get("vulns")
    ]
    left = f" Not among the advisories' packages: {', '.join(skipped)}." if skipped else ""
    count = len(packages) - len(skipped)
    if known:
        return 1, "\n".join([f"{len(known)} of {count} packages have known faults:", *known, left])
    return 0, f"{count} packages audited, no known vulnerability.{left}"


def _mended(package: dict[str, Any]) -> list[str]:
    return sorted({version for fault in package["vulns"] for version in fault["fix_versions"]})


def audit(program: str) -> tuple[int, str]:
    """Ask PyPI's advisories, and where it knows nothing, those of OSV."""
    found = UNREACHABLE, "NOT AUDITED: the advisories could not be reached from here."
    for service in ("pypi", "osv"):
        ran = subprocess.run(  # noqa: S603
            [
                program,
                *(
                    "-r",
                    str(LOCK),
                    "-r",
                    str(TORCH),
                    "--no-deps",
                    "--disable-pip",
                    "-f",
                    "json",
                    "-s",
                    service,
                ),
                *("--progress-spinner", "off", "--timeout", "10"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if re.match(r"\s*{", ran.stdout):
            found = verdict(json.loads(ran.stdout))
        if found[0] != UNREACHABLE:
            break
    return found


def main(arguments: list[str]) -> int:
    """Do what the command line says; its exit code."""
    if arguments == ["licences"]:
        PAGE.write_text(page(locked()))
        return 0
    if len(arguments) == 2 and arguments[0] == "audit":
        code, words = audit(arguments[1])
        sys.stdout.write(words + "\n")
        return code
    sys.stderr.write(__doc__ or "")
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
