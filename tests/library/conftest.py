"""A tiny policy and random pairs: the real engine, in milliseconds."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from activedpo.loading import Policy, load
from activedpo.testing import tiny_model
from activedpo.types import Message, Pair, Preference

MakePolicy = Callable[..., Policy]


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Makes each kind of tiny model once a session."""
    made: dict[tuple[object, ...], str] = {}

    def make(arch: str = "llama", chat: bool = True, seed: int = 0, **settings: object) -> str:
        key = (arch, chat, seed, *sorted(settings.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp(arch) / "model"
            made[key] = tiny_model(folder, arch=arch, chat=chat, seed=seed, **settings)
        return made[key]

    return make


@pytest.fixture
def make_policy(model_folder: Callable[..., str]) -> MakePolicy:
    def make(dtype: str | None = None, **kind: object) -> Policy:
        return load(model_folder(**kind), device="cpu", dtype=dtype)

    return make


@pytest.fixture
def policy(make_policy: MakePolicy) -> Policy:
    return make_policy()


def words(rng: random.Random, least: int, most: int) -> str:
    return "".join(rng.choice("abcdefghij klmnop.") for _ in range(rng.randint(least, most)))


def random_pairs(n: int, seed: int = 0, chat: bool = False, longest: int = 30) -> list[Pair]:
    """Ragged pairs, some of them cut off."""
    rng = random.Random(seed)
    return [
        Pair(
            as_messages(words(rng, 1, 40)) if chat else words(rng, 1, 40),
            words(rng, 1, longest),
            words(rng, 1, longest),
            finished_a=rng.random() < 0.7,
            finished_b=rng.random() < 0.7,
            id=f"pair-{i}",
        )
        for i in range(n)
    ]


def as_messages(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def random_preferences(n: int, seed: int = 0, **options: object) -> list[Preference]:
    rng = random.Random(seed + 1)
    pairs = random_pairs(n, seed, **options)  # type: ignore[arg-type]
    return [Preference(pair, p=float(rng.random() < 0.5)) for pair in pairs]


@pytest.fixture(scope="session")
def unused_port() -> Callable[[], int]:
    """A port that nobody listens on, another with each call."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture
def tmp_out(tmp_path: Path) -> Path:
    return tmp_path / "out"
