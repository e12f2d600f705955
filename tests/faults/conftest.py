"""One stack that many faults strike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from activedpo.testing import tiny_model
from app.stack.redis import free_port
from tests.driver import Visitor, visitor_of
from tests.faults.harness import Faults
from tests.stack.conftest import Stack, still_there

PLANTED = "planted-secret-4f1c9"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the tiny chat model."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HOME of the stack."""
    return tmp_path_factory.mktemp("stack") / "home"


@pytest.fixture(scope="module")
def faults(home: Path) -> Faults:
    """Where faults are armed."""
    return Faults(home.parent / "faults")


@pytest.fixture(scope="module")
def stacks(home: Path, faults: Faults) -> Iterator[list[Stack]]:
    """The stack, as the last of the list: who kills it starts another on the same HOME."""
    planted = {
        "ACTIVEDPO_API_KEY": f"key-{PLANTED}",
        "ACTIVEDPO_ADMIN_PASSWORD": f"password-{PLANTED}",
    }

    def start() -> Stack:
        stack = Stack(home, free_port(), **faults.environment(), **planted)
        stack.printed("API key")
        return stack

    class Stacks(list[Any]):
        def again(self) -> Stack:
            self.append(start())
            return self[-1]

    running = Stacks()
    running.again()
    yield running
    for stack in running:
        if stack.process.poll() is None:
            family = stack.family()
            stack.end()
            still_there(family)


@pytest.fixture
def stack(stacks: list[Stack]) -> Stack:
    """The stack that runs now."""
    return stacks[-1]


@pytest.fixture
def visitor(stack: Stack) -> Visitor:
    """Somebody who uses it."""
    return visitor_of(stack)
