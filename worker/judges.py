"""Who compares a new policy with π_0: a project's judge, made in the child."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from activedpo.oracles import ORACLES, llm
from app.oracles.models import ON_ACCELERATOR
from app.oracles.schema import SHARED
from app.policies.base_models import find_base
from app.sealed import unsealed_in
from app.settings import get_settings

if TYPE_CHECKING:
    from activedpo.oracles import Oracle


def opened(judge: dict[str, Any] | None) -> dict[str, Any] | None:
    """A judge's settings with its secret readable, for the pipe to the child and nothing else; its
    model, if it is one, where this worker has it.

    Raises:
        UnreadableSecretError: the site's secret key has changed.
    """
    if judge is None:
        return None
    settings = unsealed_in(judge, "api_key")
    if settings.get("kind") in ON_ACCELERATOR:
        settings = {**settings, "model": find_base(str(settings.get("model")))}
    return settings


def made(judge: dict[str, Any]) -> Oracle:
    """The judge of these settings.

    Raises:
        ValueError, TypeError: an unknown kind, or settings that it does not take.
    """
    kind = str(judge.get("kind"))
    if kind not in ORACLES:
        raise ValueError(f"the judge {kind!r} is not one of {', '.join(sorted(ORACLES))}")
    options = {key: value for key, value in judge.items() if key not in SHARED}
    if kind != "openai":
        return ORACLES[kind](**options)
    price = options.pop("price", None)
    if isinstance(price, dict):
        options |= {"price_in": price["input"], "price_out": price["output"]}
    # As for an attached oracle: what members may configure must not reach inside the network
    public_only = not get_settings().allow_private_addresses
    return llm.Blocking(llm.Settings(**{**options, "public_only": public_only}))
