"""What a project may be: every setting with its limits and default, checked before storing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from activedpo import acquisition
from app.errors import Invalid, fault
from app.language import _
from app.oracles.schema import ADDRESS, plain_address
from app.projects.questions import Questions, named_apart
from app.sealed import MASK, sealed_in
from app.storable import Jsonable, Text, Words

LARGEST_BATCH = 100_000
LARGEST_POOL = 10_000_000
_INT4 = 2**31 - 1


def _known(name: str) -> str:
    if name not in acquisition.names():
        raise ValueError(
            _("unknown acquisition; known are %(names)s", names=", ".join(acquisition.names()))
        )
    return name


def _judge(value: dict[str, Any]) -> dict[str, Any]:
    kind = value.get("kind")
    if not isinstance(kind, str) or not kind.strip():
        raise ValueError(_('must name its kind, as in {"kind": "sentiment"}'))
    if value.get("api_key") == MASK:
        raise ValueError(_("api_key stands masked: give the key itself, or leave the judge out"))
    return sealed_in(value, "api_key")


def _ordered(value: list[float]) -> list[float]:
    if value[0] > value[1]:
        raise ValueError(
            _("the lower quantile comes first: [low, high], not %(value)s", value=str(value))
        )
    return value


Acquisition = Annotated[Words, AfterValidator(_known)]
Count = Annotated[int, Field(ge=1, le=_INT4)]
Share = Annotated[float, Field(ge=0, le=1)]
Quantiles = Annotated[list[Share], Field(min_length=2, max_length=2), AfterValidator(_ordered)]
Positive = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """Unknown fields, numbers as text, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Server(Strict):
    """A server that samples instead of the worker, in the words of OpenAI's API.

    ``lora``: each round's adapter is loaded there before it samples and the last one let go, as
    vLLM can while it runs; ``adapters_at``: the worker's folder of policies as the server sees it,
    where that is another path.
    """

    kind: Literal["server"] = "server"
    base_url: Annotated[
        Words, Field(max_length=2_000, json_schema_extra=ADDRESS), AfterValidator(plain_address)
    ]
    model: Annotated[Words, Field(min_length=1, max_length=4_096)]
    api_key: Annotated[Words, Field(max_length=10_000)] | None = None
    lora: StrictBool = False
    adapters_at: Annotated[Words, Field(max_length=4_096)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=256)] = 16
    timeout: Annotated[float, Field(gt=0, le=3_600)] = 300.0

    @field_validator("api_key")
    @classmethod
    def _sealed(cls, key: str | None) -> str | None:
        if key == MASK:
            raise ValueError(_("stands masked: give the key itself, or leave the engine out"))
        sealed: str | None = sealed_in({"api_key": key}, "api_key")["api_key"]
        return sealed


class Generation(Strict):
    """How completions are sampled, and which pairs are not worth asking about.

    ``engine``: who samples; null: the worker itself. ``prune``: [low, high] quantiles of the pool's
    perplexity between which a pair is asked about first; ``near_duplicates``: so are pairs whose
    completions are at most this alike (Jaccard of word trigrams). What they leave out is taken when
    nothing else is left; the audit share is drawn from the whole pool.
    """

    max_new_tokens: Annotated[int, Field(ge=1, le=32_768)] = 128
    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Count | None = None
    entropy_samples: Annotated[int, Field(ge=1, le=1_024)] = 8
    entropy_per_token: StrictBool = False
    batch_tokens: Count | None = None
    prune: Quantiles | None = None
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    eval_prompts: Annotated[int, Field(ge=1, le=4_096)] = 64
    engine: Server | None = None


class Training(Strict):
    """How a policy is trained by DPO. ``learning_rate`` null: by ``lora`` (1e-4) or not (1e-6).

    ``gate``: pairs of the round's pool that the policy is surer about than this, σ(|margin|), are
    trained on as it would label them (arXiv 2402.09401). They are no labels: nothing stores or
    exports them, and the policy's figures count them apart.
    ``processes`` train together, each on a device of its own: with ``strategy`` ddp each holds all
    weights, with fsdp2 they share them out.
    """

    trainer: Literal["packed", "trl"] = "packed"
    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    beta: Positive = 0.1
    lora: Annotated[int, Field(ge=0, le=1_024)] = 16
    lora_alpha: Positive | None = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    learning_rate: Positive | None = None
    epochs: Count = 1
    max_steps: Count | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 8
    max_length: Count | None = None
    reset: Literal["reset", "continue"] = "reset"
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    length_normalised: StrictBool = False
    ties: Literal["drop", "half"] = "drop"
    strength: dict[Literal["1", "2", "3"], Annotated[float, Field(ge=0.5, le=1)]] | None = None
    soft_labels: StrictBool = False
    opinions: Literal["mean", "reliability", "dawid_skene"] = "mean"
    gate: Annotated[float, Field(gt=0.5, le=1)] | None = None
    max_grad_norm: Positive | None = 1.0
    warmup: Share = 0.0
    seed: Annotated[int, Field(ge=0, le=_INT4)] = 0
    checkpoint_every: Count | None = None
    gradient_checkpointing: StrictBool = False
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    strategy: Literal["ddp", "fsdp2"] = "ddp"

    @field_validator("processes")
    @classmethod
    def _takes_several(cls, processes: int, info: ValidationInfo) -> int:
        if processes > 1 and info.data.get("trainer") == "trl":
            raise ValueError("trainer 'trl' runs in one process: set it to 1, or take 'packed'")
        return processes

    @field_validator("strategy", mode="before")
    @classmethod
    def _is_built(cls, strategy: Any) -> Any:
        if strategy == "deepspeed":
            raise ValueError(
                "DeepSpeed is not supported: 'fsdp2' shares out weights, gradients and optimizer "
                "state as its third stage does"
            )
        return strategy

    @field_validator("strategy")
    @classmethod
    def _has_shares(cls, strategy: str, info: ValidationInfo) -> str:
        if strategy == "fsdp2" and info.data.get("lora"):
            raise ValueError("'fsdp2' shares out full weights: set lora to 0, or take 'ddp'")
        return strategy

    @field_validator("opinions")
    @classmethod
    def _has_weights(cls, opinions: str, info: ValidationInfo) -> str:
        if opinions != "mean" and info.data.get("trainer") == "trl":
            raise ValueError(
                _(
                    "%(opinions)s gives soft labels, which trainer 'trl' does not take",
                    opinions=repr(opinions),
                )
            )
        return opinions

    @model_validator(mode="after")
    def _rate(self) -> Training:
        if self.learning_rate is None:
            self.learning_rate = 1e-4 if self.lora else 1e-6
        return self


class ProjectSettings(Strict):
    """A whole project; everything but ``name`` has a default."""

    name: Annotated[Words, Field(min_length=1, max_length=200)]
    base_model: Annotated[Words, Field(max_length=4_096)] | None = None
    source: Literal["generated", "imported"] = "generated"
    acquisition: Acquisition = "certainty"
    cold_start: Literal["random", "entropy", "diverse"] = "random"
    pool_size: Annotated[int, Field(ge=1, le=LARGEST_POOL)] | None = None
    # Behind pool_size, which its check reads
    batch_size: Annotated[int, Field(ge=1, le=LARGEST_BATCH, validate_default=True)] = 32
    audit_fraction: Share = 0.0
    overlap: Annotated[int, Field(ge=1, le=100)] = 1
    overlap_share: Share = 1.0
    adjudicate: StrictBool = False
    require_rationale: StrictBool = False
    questions: Annotated[Questions, AfterValidator(named_apart)] = Field(default_factory=list)
    break_minutes: Annotated[int, Field(ge=5, le=600)] | None = 45
    own_figures: StrictBool = False
    system_prompt: Annotated[Text, Field(max_length=100_000)] | None = None
    chat: Literal["auto", "off"] = "auto"
    guidelines: Annotated[Text, Field(max_length=100_000)] = ""
    generation: Generation = Field(default_factory=Generation)
    training: Training = Field(default_factory=Training)
    judge: Annotated[Jsonable, AfterValidator(_judge)] | None = None
    auto_next: StrictBool = False
    claim_seconds: Annotated[int, Field(ge=5, le=30 * 86_400)] | None = None
    quota: Count | None = None
    quota_per_round: Count | None = None
    keep_policies: Annotated[int, Field(ge=0, le=100_000)] | None = None
    gold_share: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    practice_pass: Share | None = None
    paused: StrictBool = False
    seed: Annotated[int, Field(ge=0, le=_INT4)] = 0

    @field_validator("name")
    @classmethod
    def _trimmed(cls, name: str) -> str:
        return name.strip()

    @field_validator("batch_size")
    @classmethod
    def _fits(cls, size: int, info: ValidationInfo) -> int:
        pool = info.data.get("pool_size")
        if pool is not None and pool < size:
            raise ValueError(
                _("%(size)s is larger than pool_size (%(pool)s), its pool", size=size, pool=pool)
            )
        return size


FIELDS = frozenset(ProjectSettings.model_fields)
_NESTED = ("generation", "training")


def checked(values: dict[str, Any]) -> ProjectSettings:
    """The settings, defaults filled in.

    Raises:
        Invalid: naming every field that cannot be taken.
    """
    try:
        return ProjectSettings.model_validate(values)
    except ValidationError as error:
        errors = [
            {"field": ".".join(map(str, one["loc"])), "message": fault(one)}
            for one in error.errors(include_url=False)
        ]
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors[:5])
        raise Invalid(detail, errors=errors) from None


def changed(stored: dict[str, Any], change: dict[str, Any]) -> ProjectSettings:
    """The settings after a partial change; of ``generation`` and ``training`` also a part.

    A rate that followed from ``lora`` follows it again unless one is given.

    Raises:
        Invalid: naming every field that cannot be taken.
    """
    merged = {**stored, **change}
    for name in _NESTED:
        if isinstance(change.get(name), dict):
            merged[name] = {**stored[name], **change[name]}
    asked = change.get("training")
    if isinstance(asked, dict) and "lora" in asked and "learning_rate" not in asked:
        merged["training"]["learning_rate"] = None
    return checked(merged)


def archived(change: dict[str, Any]) -> bool | None:
    """Takes ``archived`` out of a change; None where it is not in it.

    Raises:
        Invalid: it is neither true nor false.
    """
    value = change.pop("archived", None)
    if value is not None and not isinstance(value, bool):
        raise Invalid(_("archived: must be true or false"), field="archived")
    return value
