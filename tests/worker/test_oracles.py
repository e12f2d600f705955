"""Oracles in a real worker process: rounds without people, kills in the middle of a batch."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from activedpo.testing import tiny_model
from app.database import transaction
from app.labelling.models import Claim, Preference
from app.oracles import actions, queries, schema
from app.oracles.models import Oracle
from app.projects.models import Project
from app.rounds import actions as rounds
from tests.worker.conftest import Worker, open_round, round_of, wait_for, wait_state

Make = Callable[..., UUID]
Start = Callable[..., Worker]


def attach(project_id: UUID, settings: schema.Settings) -> UUID:
    with transaction() as session:
        return actions.attach(session, session.get_one(Project, project_id), settings).id


def detach(project_id: UUID) -> None:
    with transaction() as session:
        actions.detach(session, session.get_one(Project, project_id))


def oracle_of(project_id: UUID) -> Oracle | None:
    with transaction() as session:
        return queries.attached(session, project_id)


def labels_of(project_id: UUID) -> list[Preference]:
    with transaction() as session:
        query = select(Preference).where(Preference.project_id == project_id)
        return list(session.scalars(query))


def one_label_a_pair(project_id: UUID) -> None:
    pairs = [label.pair_id for label in labels_of(project_id)]
    assert len(pairs) == len(set(pairs))


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> str:
    """Folder of a tiny reward model."""
    folder = tmp_path_factory.mktemp("models") / "reward"
    config = AutoConfig.from_pretrained(tiny, num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def long_tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny model that a judge's question fits into, byte by byte."""
    return tiny_model(tmp_path_factory.mktemp("models") / "long", context=4096)


def test_the_loop_runs_by_itself(project: Make, start_worker: Start, clock: Worker) -> None:
    project_id = project(prompts=8, auto_next=True, batch_size=3)
    attach(project_id, schema.Length(kind="length"))
    start_worker()
    first = open_round(project_id)
    wait_state(first, "done")
    second = wait_for(lambda: _numbered(project_id, 2))
    wait_state(second, "done")
    one_label_a_pair(project_id)


def _numbered(project_id: UUID, number: int) -> UUID | None:
    from app.rounds.models import Round

    with transaction() as session:
        query = select(Round.id).where(Round.project_id == project_id, Round.number == number)
        return session.scalar(query)


def test_a_reward_model_labels_a_batch(
    project: Make, start_worker: Start, reward_model: str
) -> None:
    project_id = project(prompts=6, batch_size=4)
    attach(project_id, schema.RewardModel(kind="reward_model", model=reward_model))
    start_worker()
    wait_state(open_round(project_id), "done")
    labels = labels_of(project_id)
    assert len(labels) == 4
    assert all(label.p_left != 0.5 and 0 < label.p_left < 1 for label in labels)
    assert {label.judge["name"] for label in labels} == {Path(reward_model).name}


def test_a_local_judge_labels_a_batch(project: Make, start_worker: Start, long_tiny: str) -> None:
    project_id = project(prompts=6, batch_size=4)
    attach(project_id, schema.LocalJudge(kind="local_judge", model=long_tiny))
    start_worker()
    wait_state(open_round(project_id), "done")
    labels = labels_of(project_id)
    assert len(labels) == 4
    assert all(label.judge["prompt_hash"] for label in labels)


def test_a_model_that_is_not_there_stops_it_and_says_so(project: Make, start_worker: Start) -> None:
    project_id = project(prompts=4, batch_size=2)
    attach(project_id, schema.LocalJudge(kind="local_judge", model="/nowhere/at/all"))
    start_worker()
    round_id = open_round(project_id)
    stopped = wait_for(lambda: _stopped(project_id))
    assert "nowhere" in stopped.error
    assert round_of(round_id).state == "labelling"


def _stopped(project_id: UUID) -> Oracle | None:
    oracle = oracle_of(project_id)
    return oracle if oracle is not None and oracle.state == "stopped" else None


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> schema.Settings:
    """An installed callable that takes its time."""
    package = tmp_path / "site"
    (package / "slow_oracle-1.dist-info").mkdir(parents=True)
    (package / "slow_oracle.py").write_text(
        "import time\n\n\ndef judge(prompt, a, b):\n    time.sleep(0.1)\n    return 1.0\n"
    )
    (package / "slow_oracle-1.dist-info" / "METADATA").write_text("Name: slow_oracle\nVersion: 1\n")
    (package / "slow_oracle-1.dist-info" / "entry_points.txt").write_text(
        "[activedpo.oracles]\nslow = slow_oracle:judge\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package))
    monkeypatch.syspath_prepend(str(package))
    return schema.Callable_(kind="callable", callable="slow")


def imported(project: Make, pairs: int) -> UUID:
    from app.projects.models import Pair, Prompt

    project_id = project(
        prompts=0, source="imported", acquisition="random", batch_size=pairs, pool_size=None
    )
    with transaction() as session:
        for n in range(pairs):
            prompt = Prompt(project_id=project_id, content=f"p{n}", content_hash=f"p{n}")
            session.add(prompt)
            session.flush()
            session.add(
                Pair(
                    project_id=project_id,
                    prompt_id=prompt.id,
                    completion_a=f"a{n}",
                    completion_b=f"b{n}",
                )
            )
    return project_id


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_ends_in_the_middle_loses_and_doubles_nothing(
    project: Make,
    start_worker: Start,
    clock: Worker,
    slow: schema.Settings,
    number: signal.Signals,
) -> None:
    project_id = imported(project, 60)
    attach(project_id, slow)
    round_id = open_round(project_id)
    worker = start_worker()
    wait_for(lambda: len(labels_of(project_id)) >= 5)
    worker.stop(number)
    assert round_of(round_id).state == "labelling"
    start_worker()
    wait_state(round_id, "training", "evaluating", "done")
    one_label_a_pair(project_id)
    assert len(labels_of(project_id)) == 60


def test_detaching_stops_it_within_seconds(
    project: Make, start_worker: Start, slow: schema.Settings
) -> None:
    project_id = imported(project, 400)
    attach(project_id, slow)
    round_id = open_round(project_id)
    start_worker()
    wait_for(lambda: labels_of(project_id))
    detach(project_id)
    before = len(labels_of(project_id))
    time.sleep(2)
    assert len(labels_of(project_id)) == before < 400
    with transaction() as session:
        live = session.scalars(select(Claim).where(Claim.state == "live")).all()
        assert live == []
        rounds.cancel(session, session.get_one(type(round_of(round_id)), round_id))


def test_what_waits_is_found_without_a_bell(
    project: Make, start_worker: Start, clock: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.jobs.send", lambda _: None)
    project_id = imported(project, 3)
    attach(project_id, schema.Length(kind="length"))
    open_round(project_id)
    start_worker()
    # completions of one length: it abstains from all three, and the round ends
    wait_for(lambda: len(labels_of(project_id)) == 3)
