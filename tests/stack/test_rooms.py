"""Who may import whom, seen where it counts: in the running web process."""

from __future__ import annotations

import subprocess
import sys


def _modules_after(code: str) -> set[str]:
    tail = "; import sys; print('\\n'.join(sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code + tail], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_the_web_process_holds_no_torch_and_no_worker() -> None:
    loaded = _modules_after("import app.main; app.main.create_app()")
    assert "app.labelling.api" in loaded
    heavy = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "sklearn", "worker"}
    assert loaded & heavy == set()


def test_the_library_alone_loads_no_torch_and_no_platform() -> None:
    loaded = _modules_after("import activedpo")
    assert loaded & {"torch", "transformers", "app", "sqlalchemy", "fastapi", "celery"} == set()


def test_the_command_line_loads_no_torch() -> None:
    loaded = _modules_after("import app.cli; app.cli.build()")
    assert loaded & {"torch", "transformers", "worker", "fastapi"} == set()


def test_the_contracts_of_the_rooms_are_kept() -> None:
    linted = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts: 5 kept, 0 broken." in linted.stdout, linted.stdout
