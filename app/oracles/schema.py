"""What an oracle may be: every kind with its settings, limits and defaults."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    model_validator,
)

from app.storable import Text, Words

ENTRY_POINTS = "activedpo.oracles"
SHARED = ("kind", "mode", "abstain_below", "fill_after", "audit_to_people")
"""Settings that are the project's business: no judge is made from them."""

Template = Literal["helpfulness", "harmlessness", "summary", "sentiment", "custom"]
ModelName = Annotated[Words, Field(max_length=4_096)]
Criteria = Annotated[Text, Field(max_length=20_000)]
Positive = Annotated[float, Field(gt=0)]


ADDRESS: dict[str, Any] = {"pattern": r"^https?://[a-z0-9]+(\.[a-z0-9]+)*(/[a-z0-9]+)*$"}
"""For who reads the schema: an address that is surely one."""


def callable_address(url: str) -> str:
    """An http(s) address with a host and without name or password, as it came.

    Raises:
        ValueError: it is none; says why.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (a port that is none raises here)
    except ValueError:
        raise ValueError("is no address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if parts.username or parts.password:
        raise ValueError("must not carry a name or password: send a key as api_key")
    return url


def plain_address(url: str) -> str:
    """An address that more is written behind: without query, and without its last slash.

    Raises:
        ValueError: it is none; says why.
    """
    parts = urlsplit(callable_address(url))
    if parts.query or parts.fragment:
        raise ValueError("must end with its path")
    return url.rstrip("/")


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return pattern


def _installed(name: str) -> str:
    known = sorted(entry_points(group=ENTRY_POINTS).names)
    if name not in known:
        listed = ", ".join(known) or "none"
        raise ValueError(f"is no installed entry point of group {ENTRY_POINTS}; there: {listed}")
    return name


class Settings(BaseModel):
    """Common to all kinds.

    ``abstain_below``: it skips a pair unless one side has at least this probability.
    ``fill_after``: with people first, seconds of labelling after which it fills what is left.
    ``audit_to_people``: where it is first, people label the batch's audit share, and what it
    thinks of these pairs is kept beside them.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    mode: Literal["alone", "first", "with_people", "people_first"] = "alone"
    abstain_below: Annotated[float, Field(ge=0.5, le=1)] = 0.5
    fill_after: Annotated[float, Field(ge=0, le=31_536_000)] = 3_600.0
    audit_to_people: StrictBool = False


class Judging(Settings):
    """Common to kinds that ask a language model."""

    template: Template = "helpfulness"
    criteria: Criteria | None = None
    both_orders: StrictBool = True
    on_disagreement: Literal["abstain", "tie"] = "abstain"

    @model_validator(mode="after")
    def _says_what_matters(self) -> Judging:
        if self.template == "custom" and not (self.criteria or "").strip():
            raise ValueError("template custom needs criteria: what makes a completion better")
        return self


class Price(BaseModel):
    """US dollars for a million tokens."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


class OpenAI(Judging):
    """A judge behind Chat Completions. ``budget`` is in US dollars at ``price``."""

    kind: Literal["openai"]
    base_url: Annotated[
        Words, Field(max_length=2_000, json_schema_extra=ADDRESS), AfterValidator(plain_address)
    ]
    model: ModelName
    api_key: SecretStr | None = Field(None, max_length=10_000)
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    budget: Annotated[float, Field(ge=0)] | None = None
    # Dear on purpose: a budget over unknown prices ends early rather than late
    price: Price = Price(input=10.0, output=30.0)
    samples: Annotated[int, Field(ge=1, le=25)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    max_tokens: Annotated[int, Field(ge=1, le=32_768)] = 512
    timeout: Annotated[float, Field(gt=0, le=600)] = 60.0
    structured: StrictBool = True
    guard: StrictBool = True
    logprobs: StrictBool = False
    on_disagreement: Literal["abstain", "tie", "average"] = "abstain"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _has_an_average(self) -> OpenAI:
        if self.on_disagreement == "average" and not self.logprobs:
            raise ValueError("on_disagreement average needs logprobs: verdicts alone have none")
        return self


class Sentiment(Settings):
    kind: Literal["sentiment"]
    least: Annotated[float, Field(ge=0, le=2)] = 0.05


class Length(Settings):
    kind: Literal["length"]
    prefer: Literal["longer", "shorter"] = "longer"


class Regex(Settings):
    kind: Literal["regex"]
    pattern: Annotated[Words, Field(max_length=2_000), AfterValidator(_compiles)]
    prefer: Literal["more", "fewer"] = "more"


class Callable_(Settings):
    """A function of ours or yours, installed as an entry point."""

    kind: Literal["callable"]
    callable: Annotated[Words, Field(max_length=200), AfterValidator(_installed)]


class RewardModel(Settings):
    kind: Literal["reward_model"]
    model: ModelName
    batch_size: Annotated[int, Field(ge=1, le=4_096)] = 16
    scale: Positive = 1.0


class LocalJudge(Judging):
    kind: Literal["local_judge"]
    on_disagreement: Literal["average", "abstain", "tie"] = "average"  # type: ignore[assignment]
    model: ModelName


AnyOracle = Annotated[
    OpenAI | Sentiment | Length | Regex | Callable_ | RewardModel | LocalJudge,
    Field(discriminator="kind"),
]
