"""Reading ahead: the same items in order, errors where they belong, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.projects.ahead import ahead


def threads() -> int:
    return sum(thread.name == "reading ahead" for thread in threading.enumerate())


@given(st.lists(st.integers(), max_size=20), st.integers(0, 20))
def test_items_come_in_order_however_many_are_taken(items: list[int], taken: int) -> None:
    with ahead(iter(items)) as made:
        assert [item for item, _ in zip(made, range(taken), strict=False)] == items[:taken]
    assert threads() == 0


def test_an_error_is_raised_behind_the_items_before_it() -> None:
    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    seen: list[int] = []

    def read() -> None:
        with ahead(fails()) as made:
            seen.extend(made)

    with pytest.raises(ValueError, match="broken"):
        read()
    assert seen == [1]
    assert threads() == 0


def test_who_gives_up_leaves_no_thread_behind() -> None:
    def give_up() -> None:
        with ahead(iter(range(10**9))) as made:
            assert next(made) == 0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    assert threads() == 0
