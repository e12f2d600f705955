"""Takes a safeguard out of a copy of the code and shows that a named test notices.

``python -m tests.mutations`` from the repository's root; exit code 1 if a mutant survives.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("activedpo", "app", "worker", "migrations", "templates", "tests", "docs")

MACHINE = (
    "tests/faults/test_round_machine.py::test_rounds_keep_their_promises_whatever_happens_at_once"
)


@dataclass(frozen=True)
class Mutant:
    """One safeguard: where it stands, what is put in its place, which test must fail."""

    safeguard: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant(
        "fencing number of a hold",
        "app/rounds/runs.py",
        '.where(Run.id == run_id, Run.attempt == attempt, Run.state == "running")\n'
        "        .with_for_update()",
        '.where(Run.id == run_id, Run.state == "running")\n        .with_for_update()',
        "tests/worker/test_runs.py::"
        "test_an_expired_hold_goes_to_another_and_the_first_can_write_no_more",
    ),
    Mutant(
        "one live claim a slot",
        "migrations/versions/0001_the_first_tables.py",
        '"uq_claims_slot",\n        "claims",\n        ["pair_id", "slot"],\n        unique=True',
        '"uq_claims_slot",\n        "claims",\n        ["pair_id", "slot"],\n        unique=False',
        "tests/faults/test_constraints.py::test_two_annotators_never_hold_one_slot",
    ),
    Mutant(
        "CSRF token",
        "app/people/access.py",
        "    if actor.sign_in is None:\n        return\n    if not hmac",
        "    return\n    if not hmac",
        "tests/security/test_matrix.py::test_no_form_works_without_its_csrf_token",
    ),
    Mutant(
        "escaping of what is shown",
        "app/web.py",
        "autoescape=True",
        "autoescape=False",
        "tests/pages/test_every_page.py::test_names_and_texts_are_never_markup",
    ),
    Mutant(
        "sanitiser of Markdown",
        "app/labelling/markup.py",
        "    return nh3.clean(\n"
        "        parser.renderer.render(tokens, parser.options, {}),\n"
        "        tags=_TAGS,\n"
        "        attributes=_ATTRIBUTES,\n"
        '        url_schemes={"http", "https", "mailto"},\n'
        '        link_rel="noopener noreferrer nofollow",\n'
        "        set_tag_attribute_values={\n"
        '            "a": {"target": "_blank"},\n'
        "            # what is wide is read sideways by the arrow keys\n"
        '            "pre": {"tabindex": "0"},\n'
        '            "table": {"tabindex": "0"},\n'
        "        },\n"
        "    )\n",
        "    return str(parser.renderer.render(tokens, parser.options, {}))\n",
        "tests/labelling/test_markup.py::test_the_allow_list_alone_lets_nothing_through",
    ),
    Mutant(
        "membership of a project",
        "app/people/access.py",
        '    if role is None and actor.person.role != "admin":\n        raise missing\n',
        "",
        "tests/security/test_matrix.py::test_refusals_and_reads",
    ),
    Mutant(
        "scope of a key",
        "app/people/access.py",
        'return actor.scope == "admin" and (',
        "return (",
        "tests/security/test_matrix.py::test_refusals_and_reads",
    ),
    Mutant(
        "commit before the answer",
        "app/database.py",
        'Depends(_request_session, scope="function")',
        "Depends(_request_session)",
        "tests/api/test_edge.py::test_a_commit_that_fails_never_shows_success",
    ),
    Mutant(
        "checksum of an artefact",
        "app/artifacts.py",
        "    if found != sha256:",
        "    if False:",
        "tests/api/test_artifacts.py",
    ),
    Mutant(
        "path that leads out of the store",
        "app/artifacts.py",
        'if relative.is_absolute() or ".." in relative.parts:',
        "if False:",
        "tests/api/test_artifacts.py::test_no_path_leads_out_of_the_store",
    ),
    Mutant(
        "checksum of a backup",
        "app/backup/archive.py",
        "if found.get(name) != entries.get(name):",
        "if False:",
        "tests/backup/test_files.py::test_a_changed_byte_anywhere_is_found",
    ),
    Mutant(
        "size of a Parquet value",
        "app/projects/tables.py",
        "    if _bytes_of(batch.to_struct_array()) <= LONGEST_LINE:",
        "    if True:",
        "tests/security/test_hostile.py::test_a_parquet_bomb_takes_little_memory_and_is_rejected",
    ),
    Mutant(
        "limit on signing in",
        "app/people/throttle.py",
        "        if not passes(limit, *names):",
        "        if False:",
        "tests/api/test_sign_in.py::test_tries_are_limited_and_the_right_password_waits_too",
    ),
    Mutant(
        "a code of the second step works once",
        "app/people/second_factor.py",
        "if same and step > found.last_step:",
        "if same:",
        "tests/pages/test_second_factor.py::test_a_code_works_once",
    ),
    Mutant(
        "a pair flagged as personal data",
        "app/labelling/actions.py",
        "    flagged = withheld.PERSONAL in (preference.flags or ())\n",
        "    flagged = False\n",
        "tests/privacy/test_withheld.py",
    ),
    Mutant(
        "state of a sign-in through the provider",
        "app/people/oidc.py",
        "    if not expected or not hmac.compare_digest(expected.encode(), _bytes(state)):",
        "    if not expected:",
        "tests/people/test_oidc.py::test_the_state_must_be_that_of_this_browser",
    ),
    Mutant(
        "an address is verified",
        "app/people/oidc.py",
        'if claims.get("email_verified") is True else None',
        "if True else None",
        "tests/people/test_oidc.py::test_an_address_that_is_not_verified_says_nothing",
    ),
    Mutant(
        "a second step that the site asks for",
        "app/people/access.py",
        "    return found is None or found.confirmed_at is None\n",
        "    return False\n",
        "tests/people/test_compulsory.py",
    ),
    Mutant(
        "a password link works once",
        "app/people/actions.py",
        "    session.execute(delete(PasswordLink).where(PasswordLink.person_id == person.id))\n"
        "    sign_out_everywhere(session, person.id, but=keep)",
        "    sign_out_everywhere(session, person.id, but=keep)",
        "tests/pages/test_passwords.py::test_a_used_link_opens_nothing_more",
    ),
    Mutant(
        "size of a tokenizer's files",
        "activedpo/loading.py",
        "        if size > LARGEST_TOKENIZER_FILE:",
        "        if False:",
        "tests/library/test_loading.py::"
        "test_a_file_of_a_tokenizer_that_fills_the_memory_is_not_read",
    ),
    Mutant(
        "fencing number of a run, in any order of things",
        "app/rounds/runs.py",
        '.where(Run.id == run_id, Run.attempt == attempt, Run.state == "running")\n'
        "        .with_for_update()",
        '.where(Run.id == run_id, Run.state == "running")\n        .with_for_update()',
        MACHINE,
    ),
    Mutant(
        "revision of the database",
        "app/skew.py",
        "    if found == newest:",
        "    if True:",
        "tests/stack/test_skew.py::test_a_worker_that_runs_on_takes_nothing",
    ),
)


def _copy(to: Path) -> None:
    """The code as it stands, without what is built from it."""
    for room in ROOMS:
        if (ROOT / room).is_dir():
            command = ["cp", "-r", "--reflink=auto", str(ROOT / room), str(to / room)]
            subprocess.run(command, check=True)
    for name in ("pyproject.toml", "README.md", "Makefile"):
        (to / name).write_bytes((ROOT / name).read_bytes())


def _passes(folder: Path, test: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    env = os.environ | {
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "ROUND_MACHINE_REPLAY": "0",
    }
    ran = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if ran.returncode not in (0, 1):
        raise SystemExit(f"{test} could not run:\n{ran.stdout[-3000:]}{ran.stderr[-2000:]}")
    return ran.returncode == 0


@cache
def _stands(test: str) -> None:
    """The test passes while nothing is taken out: else it would notice any mutant.

    Raises:
        SystemExit: it does not.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as made:
        _copy(Path(made))
        if not _passes(Path(made), test):
            raise SystemExit(f"{test} fails without a mutant: it shows nothing")


def survives(mutant: Mutant) -> bool:
    """Whether nobody notices.

    Raises:
        SystemExit: the safeguard is not where this file says, or the test fails anyway.
    """
    _stands(mutant.test)
    with tempfile.TemporaryDirectory(prefix="mutant-") as made:
        folder = Path(made)
        _copy(folder)
        file = folder / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:
            raise SystemExit(
                f"{mutant.safeguard}: {mutant.file} has changed; mend tests/mutations.py"
            )
        file.write_text(text.replace(mutant.old, mutant.new))
        return _passes(folder, mutant.test)


def main(wanted: list[str]) -> int:
    """Try every mutant, or those whose safeguard's name holds one of the words given."""
    chosen = [m for m in MUTANTS if not wanted or any(word in m.safeguard for word in wanted)]
    left = 0
    for mutant in chosen:
        survived = survives(mutant)
        left += survived
        verdict = "SURVIVED" if survived else "noticed"
        print(f"{verdict:9} {mutant.safeguard:34} {mutant.test}", flush=True)  # noqa: T201
    print(f"{len(chosen) - left} of {len(chosen)} safeguards are missed when they are gone")  # noqa: T201
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
