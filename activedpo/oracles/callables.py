"""A function of somebody's own as an oracle: an installed entry point, or `module:name`."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from activedpo.oracles import Oracle

GROUP = "activedpo.oracles"


def installed(name: str) -> Oracle:
    """The function behind an entry point of group `activedpo.oracles`.

    Raises:
        ValueError: there is none of this name.
    """
    for point in entry_points(group=GROUP):
        if point.name == name:
            return cast("Oracle", point.load())
    known = ", ".join(sorted(entry_points(group=GROUP).names)) or "none"
    raise ValueError(f"callable: no entry point {name!r} of group {GROUP}; there: {known}")


def imported(place: str) -> Any:
    """The function at `module:name`.

    Raises:
        ValueError: it cannot be imported, or is no function; says which.
    """
    module, _, name = place.partition(":")
    if not module or not name:
        raise ValueError(f"{place!r} must be written as module:function")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{place!r} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"{place!r} is no function")
    return found
