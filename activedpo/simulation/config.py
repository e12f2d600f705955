"""The config of `activedpo simulate` and `activedpo run`: a YAML file, every key checked.

Unknown keys, wrong types, unknown strategies and missing files are errors that name the key, before
anything is written or any model is loaded.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from activedpo import acquisition
from activedpo.errors import ActiveDPOError

_SEED = 2**32 - 1
_BRANCH = r"[\[\]()]|^(str|int|Fit|Noise|constrained-int|function-.*)$"


class InvalidConfig(ActiveDPOError, ValueError):
    """A config that cannot be run; the message names each key at fault."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Fit(_Strict):
    """A small causal language model, fitted on texts before the first round.

    Args:
        fit: file of texts (`.jsonl` with `text` or `prompt`, or `.txt`, one a line).
        layers, width, heads: of the transformer; vocabulary: tokens of its byte-pair encoding.
        context: longest sequence in tokens.
        epochs: passes over the texts; steps: updates at most; batch_size: texts an update.
        learning_rate: peak of AdamW; seed: of weights and order.
    """

    fit: str
    layers: Count = 2
    width: Annotated[int, Field(ge=8)] = 128
    heads: Count = 4
    vocabulary: Annotated[int, Field(ge=260)] = 2_000
    context: Annotated[int, Field(ge=8)] = 128
    epochs: Count = 8
    steps: Count = 1_000
    batch_size: Count = 32
    learning_rate: Positive = 3e-3
    seed: Annotated[int, Field(ge=0, le=_SEED)] = 0

    @model_validator(mode="after")
    def _heads_divide(self) -> Fit:
        if self.width % (2 * self.heads):
            raise ValueError(f"width ({self.width}) must be a multiple of 2 x heads ({self.heads})")
        return self


class Noise(_Strict):
    """What makes an oracle's labels wrong; the same for every strategy of a seed.

    The oracle's p becomes logit(p) + position_bias * side + length_bias * log(length_a / length_b),
    side being +1 where a is shown first and -1 otherwise. At temperature 0 its sign decides, above
    0 a Bradley-Terry draw from sigma(logit / temperature). Then a share `flips` is turned round.
    """

    flips: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    temperature: Annotated[float, Field(ge=0)] = 0.0
    position_bias: float = 0.0
    length_bias: float = 0.0


class Spec(BaseModel):
    """An oracle or judge: its kind, and what that kind takes (checked by the kind itself)."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    kind: Annotated[str, Field(min_length=1)]

    @property
    def settings(self) -> dict[str, Any]:
        """All but the kind."""
        return dict(self.__pydantic_extra__ or {})


def _spec(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _noise(value: Any) -> Any:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return {"flips": value} if plain else value


def _seeds(value: Any) -> Any:
    plain = isinstance(value, int) and not isinstance(value, bool)
    return list(range(value)) if plain else value


def _reset(value: Any) -> Any:
    return (
        {True: "reset", False: "continue"}.get(value, value) if isinstance(value, bool) else value
    )


def _known(name: str) -> str:
    acquisition.strategy(name)
    return name


def _distinct(values: list[Any]) -> list[Any]:
    twice = sorted({str(v) for v in values if values.count(v) > 1})
    if twice:
        raise ValueError(f"named twice: {', '.join(twice)}")
    return values


def _increasing(values: list[int]) -> list[int]:
    if any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"must grow: they are cumulative counts of labels, not {values}")
    return values


Oracle = Annotated[Spec, BeforeValidator(_spec)]
Name = Annotated[str, AfterValidator(_known)]


class Training(_Strict):
    """How a policy is trained each round; see `activedpo.train_dpo`."""

    trainer: Literal["packed", "trl"] = "packed"
    lora: Annotated[int, Field(ge=0, le=1_024)] = 16
    lora_alpha: Positive | None = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    reset: Annotated[Literal["reset", "continue"], BeforeValidator(_reset)] = "reset"
    beta: Positive = 0.1
    learning_rate: Positive | None = None
    epochs: Count = 3
    max_steps: Count | None = None
    batch_size: Count = 16
    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    length_normalised: bool = False
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Positive = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup_ratio: Share = 0.0
    gradient_checkpointing: bool = False


class SimulationConfig(Training):
    """Everything of a simulation. The keys of `Training` stand beside these, flat.

    Args:
        policy: pi_0, a folder or hub name, or `{fit: FILE}`.
        prompts: file of prompts (`.jsonl`, `.json`, `.csv`, `.parquet`, `.txt`); rows with split
            "eval" are for evaluation only. Not read with recorded labels.
        strategies: acquisition functions, each an arm.
        seeds: a list, or a count n for 0..n-1.
        labels: cumulative counts of labels, one round each.
        pool_factor: pairs in a round's pool, as a multiple of the round's new labels.
        duplicates: share of a generated pool that repeats other pairs of it, texts and all.
        oracle: labels the chosen pairs; judge: compares with pi_0 (default: the oracle, noiseless).
        noise: share of flipped labels, or a `Noise`.
        temperature, top_p, top_k, max_new_tokens: of the pairs; eval_temperature: of evaluation.
        eval_prompts: how many prompts are for evaluation: of those marked so, else held out; with
            recorded labels, how many prompts with their pairs.
        prompt_tokens: cut text prompts to that many tokens; [low, high]: a count drawn for each.
        cold_start: the first round's choice, the same batch for all strategies of a seed.
        audit_fraction: share of every batch drawn at random.
        prune: [low, high] quantiles of the chosen text's perplexity that stay in the pool.
        near_duplicates: pairs whose completions are more alike than this (Jaccard) leave the pool.
        gate: a policy surer than this of a pair labels it itself, for one training (off: null).
    """

    policy: str | Fit
    prompts: str | None = None
    strategies: Annotated[list[Name], Field(min_length=1), AfterValidator(_distinct)]
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, le=_SEED)]],
        BeforeValidator(_seeds),
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = [0]
    labels: Annotated[list[Count], Field(min_length=1), AfterValidator(_increasing)]
    pool_factor: Annotated[float, Field(ge=1)] = 4.0
    duplicates: Annotated[float, Field(ge=0, lt=1)] = 0.0
    oracle: Oracle = Spec(kind="sentiment")
    judge: Oracle | None = None
    noise: Annotated[Noise, BeforeValidator(_noise)] = Noise()
    max_new_tokens: Count = 128
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Count | None = None
    eval_temperature: Annotated[float, Field(ge=0)] = 0.25
    eval_prompts: Count | None = None
    prompt_tokens: Count | Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None
    entropy_samples: Count = 8
    entropy_per_token: bool = False
    cold_start: Literal["random", "entropy", "diverse"] = "random"
    shortlist: Annotated[float, Field(ge=1)] = 4.0
    audit_fraction: Share = 0.0
    prune: Annotated[list[Share], Field(min_length=2, max_length=2)] | None = None
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    gate: Annotated[float, Field(gt=0.5, le=1)] | None = None
    system_prompt: str | None = None
    chat: Literal["auto", "off"] = "auto"
    device: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None

    @field_validator("policy", mode="before")
    @classmethod
    def _fitted(cls, value: Any) -> Any:
        # One branch of the union only, so that an error names the key at fault and not both.
        return Fit.model_validate(value) if isinstance(value, Mapping) else value

    @field_validator("prompt_tokens", "prune")
    @classmethod
    def _ordered(cls, value: Any) -> Any:
        if isinstance(value, list) and value[0] > value[1]:
            raise ValueError(f"[low, high] is wanted, not {value}")
        return value

    @property
    def judged_by(self) -> Spec:
        """The judge, or the oracle where none is named."""
        return self.judge or self.oracle

    @property
    def steps(self) -> list[int]:
        """New labels of each round."""
        return [b - a for a, b in zip([0, *self.labels], self.labels, strict=False)]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floats: `3e-4` is a number, which PyYAML takes for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$|^[-+]?\.\d[\d_]*[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def read_config(file: str | Path, recorded: bool = False) -> SimulationConfig:
    """Reads and checks a config; paths in it become absolute.

    Args:
        recorded: labels come from a file, so neither prompts nor oracle are needed.

    Raises:
        InvalidConfig: it cannot be read, or a key is unknown, missing, or wrong.
    """
    return check_config(read_mapping(file), Path(file).parent, recorded)


def read_mapping(file: str | Path) -> dict[Any, Any]:
    """A YAML file's keys, unchecked.

    Raises:
        InvalidConfig: it cannot be read, or is no YAML, or no mapping.
    """
    try:
        content = yaml.load(Path(file).read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{file}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{file}: is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InvalidConfig(f"{file}: must be a mapping of keys, such as `policy: FOLDER`")
    return content


def check_config(
    content: Mapping[Any, Any], folder: Path = Path(), recorded: bool = False
) -> SimulationConfig:
    """Checks a config's content; relative paths in it start at `folder`, else at the working one.

    Raises:
        InvalidConfig: naming each key at fault.
    """
    try:
        config = SimulationConfig.model_validate(dict(content))
    except ValidationError as error:
        told = "; ".join(_told(one["loc"], one["msg"]) for one in error.errors(include_url=False))
        raise InvalidConfig(told) from None
    return _placed(config, folder, recorded)


def _told(location: tuple[int | str, ...], message: str) -> str:
    # Names of union branches and validators are no keys of the user's.
    inner = [str(p) for p in location[1:] if not re.search(_BRANCH, str(p))]
    parts = [str(location[0]), *inner] if location else ["config"]
    said = message.removeprefix("Value error, ")
    if said == "Extra inputs are not permitted":
        said = "unknown key"
    return f"{'.'.join(parts)}: {said}"


def _placed(config: SimulationConfig, folder: Path, recorded: bool) -> SimulationConfig:
    """The config with its files found."""
    changes: dict[str, Any] = {}
    if not recorded:
        if config.prompts is None:
            raise InvalidConfig("prompts: a file is needed (only --labels goes without)")
        changes["prompts"] = find_file("prompts", config.prompts, folder)
    if isinstance(config.policy, Fit):
        changes["policy"] = config.policy.model_copy(
            update={"fit": find_file("policy.fit", config.policy.fit, folder)}
        )
    else:
        changes["policy"] = _policy_folder(config.policy, folder)
    for key in ("oracle", "judge"):
        spec = getattr(config, key)
        if spec is not None and isinstance(spec.settings.get("fit"), str):
            found = find_file(f"{key}.fit", spec.settings["fit"], folder)
            changes[key] = Spec.model_validate({"kind": spec.kind, **spec.settings, "fit": found})
    return config.model_copy(update=changes)


def find_file(key: str, name: str, folder: Path) -> str:
    """The absolute path of a file that a config names; `$NAME` in it is the environment's.

    Raises:
        InvalidConfig: there is none.
    """
    given = Path(os.path.expandvars(name)).expanduser()
    for candidate in (folder / given, given):
        if candidate.is_file():
            return str(candidate.resolve())
    raise InvalidConfig(f"{key}: no file {str(given)!r} (looked in {folder.resolve()} and here)")


def _policy_folder(name: str, folder: Path) -> str:
    given = Path(os.path.expandvars(name)).expanduser()
    for candidate in (folder / given, given):
        if candidate.is_dir():
            return str(candidate.resolve())
    if given.is_absolute() or name.startswith((".", "~", "$")):
        raise InvalidConfig(f"policy: no model folder {str(given)!r}")
    return name
