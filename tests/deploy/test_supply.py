"""What the product is made of is written down, and an audit that asked nobody says so."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def _supply() -> Any:
    spec = importlib.util.spec_from_file_location("supply", ROOT / "deploy" / "supply.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


supply = _supply()
FAULT = {"id": "CVE-2026-1", "fix_versions": ["2.1"]}


def test_every_package_is_on_the_page_with_its_licence() -> None:
    rows = dict(re.findall(r"^\| (\S+) \| (.+) \|$", supply.PAGE.read_text(), re.M))
    missing = set(supply.locked()) - set(rows)
    assert missing == set(), "run `make licences`"
    unknown = {name for name, licence in rows.items() if licence == "not installed here"}
    assert unknown == set()


def test_nothing_is_under_a_licence_that_asks_for_all_of_the_product() -> None:
    rows = re.findall(r"^\| (\S+) \| (.+) \|$", supply.PAGE.read_text(), re.M)
    whole = re.compile(r"(?<!L)GPL|(?<!Lesser )General Public")
    bound = {name for name, licence in rows if whole.search(licence) and " OR " not in licence}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert bound - set(project["optional-dependencies"]["dev"]) == set()


def test_what_is_imported_is_locked() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[\[<>=! ]", one)[0].lower().replace("_", "-") for one in wanted}
    locked = {name.lower().replace("_", "-") for name in supply.locked()}
    assert names - locked == set(), "run `make lock`"


def test_every_locked_file_is_known_by_its_hash() -> None:
    for name in ("requirements.lock", "requirements-tools.lock"):
        pins = re.split(r"\n(?=[a-z])", (ROOT / name).read_text())[1:]
        assert len(pins) > 40
        bare = [pin.split()[0] for pin in pins if not re.search(r"--hash=sha256:[0-9a-f]{64}", pin)]
        assert bare == [], "run `make lock`"
    torch = (ROOT / "requirements-torch.lock").read_text()
    assert re.fullmatch(r"torch==[0-9.]+\n", torch)
    for file in ("Makefile", "Dockerfile"):
        installs = re.findall(r"pip install[^&|]*?-r requirements\.lock", (ROOT / file).read_text())
        assert installs
        assert all("--require-hashes" in one for one in installs), file


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([{"name": "a", "skip_reason": "x"}, {"name": "b", "skip_reason": "x"}], 2, "NOT AUDITED"),
        ([], 2, "NOT AUDITED"),
        ([{"name": "a", "version": "1", "vulns": []}], 0, "1 packages audited"),
        (
            [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "x"}],
            0,
            "Not among the advisories' packages: b",
        ),
        ([{"name": "a", "version": "2", "vulns": [FAULT]}], 1, "a 2: CVE-2026-1 (mended in 2.1)"),
    ],
)
def test_an_audit_that_asked_nobody_is_no_clean_bill(packages, code, words) -> None:
    found, said = supply.verdict({"dependencies": packages})
    assert found == code
    assert words in said


def test_a_tool_that_says_nothing_audited_nothing(tmp_path: Path) -> None:
    silent = tmp_path / "pip-audit"
    silent.write_text("#!/bin/sh\nexit 1\n")
    silent.chmod(0o755)
    code, said = supply.audit(str(silent))
    assert code == 2
    assert "NOT AUDITED" in said


def oldest() -> str:
    """The oldest Python that we promise to run on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["requires-python"].removeprefix(">=")) + ".0"


def locked() -> dict[str, str | None]:
    """What Python each locked package wants, by its name; None where it is not installed here."""
    text = "".join((ROOT / f"requirements{end}.lock").read_text() for end in ("", "-torch"))
    found: dict[str, str | None] = {}
    for name in re.findall(r"^([\w.-]+)==", text, re.M):
        try:
            found[canonicalize_name(name)] = distribution(name).metadata.get("Requires-Python")
        except PackageNotFoundError:
            found[canonicalize_name(name)] = None
    return found


def test_every_locked_package_runs_on_the_oldest_python_that_we_promise() -> None:
    assert len(locked()) > 100
    refuse = {
        name: versions
        for name, versions in locked().items()
        if versions and oldest() not in SpecifierSet(versions)
    }
    assert refuse == {}


def test_what_the_oldest_python_needs_besides_is_locked() -> None:
    there = {"python_version": "3.11", "python_full_version": oldest(), "extra": ""}
    assert oldest().startswith(there["python_version"])
    missing = set()
    for name in locked():
        with suppress(PackageNotFoundError):
            for text in distribution(name).requires or []:
                need = Requirement(text)
                if need.marker is None or need.marker.evaluate(there):
                    missing.add(canonicalize_name(need.name))
    # torch's builds bring their own; setuptools is every environment's
    assert missing - locked().keys() - {"triton", "setuptools"} == set()
