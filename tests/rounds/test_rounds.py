"""The state machine of a round, each move as a fact."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.database import transaction
from app.errors import Conflict
from app.models import Event, Policy, Project, Round, Run
from app.rounds import actions
from app.rounds.training_set import training_set
from tests.rounds.conftest import label


def test_a_round_goes_from_queued_to_done_and_its_policy_is_the_projects(hand, ann):
    h = hand(8)
    h.open()
    assert h.round().state == "generating"
    h.generate()
    assert h.round().state == "labelling"
    label(h, ann)
    assert h.round().state == "training"
    h.train()
    assert h.round().state == "evaluating"
    h.evaluate()
    round = h.round()
    with transaction() as s:
        project = s.get_one(Project, h.id)
        kinds = list(s.scalars(select(Event.kind).order_by(Event.id)))
    assert (round.state, project.policy_id) == ("done", round.policy_out_id)
    assert round.metrics["win_rate"] == 0.5
    assert [k for k in kinds if k.startswith("round.")] == [
        f"round.{state}"
        for state in ("queued", "generating", "labelling", "training", "evaluating", "done")
    ]


def test_a_round_needs_prompts(hand):
    with pytest.raises(Conflict, match="no train prompts"):
        hand(0).open()


def test_imported_rounds_need_pairs(hand):
    with pytest.raises(Conflict, match="import pairs"):
        hand(3, source="imported").open()


def test_one_open_round_a_project(hand):
    h = hand(8)
    h.open()
    with pytest.raises(Conflict, match="Round 1 is still generating"):
        h.open()
    with pytest.raises(IntegrityError, match="uq_rounds_one_open"), transaction() as s:
        s.add(Round(project_id=h.id, number=2, needed=1))


def test_two_admins_at_once_open_one_round(hand):
    h = hand(8)

    def attempt(_):
        try:
            return h.open()
        except Conflict:
            return None

    with ThreadPoolExecutor(6) as pool:
        assert sum(r is not None for r in pool.map(attempt, range(6))) == 1


def test_a_pool_is_four_times_the_batch_and_cut_into_shards(hand, monkeypatch):
    from app.settings import get_settings

    monkeypatch.setattr(get_settings(), "shard_prompts", 3)
    h = hand(20)
    h.open()
    assert [len(run.input["prompts"]) for run in h.runs()] == [3, 3, 2]


def test_the_least_used_prompts_come_first_and_reuse_is_told(hand):
    h = hand(3)
    round = h.open()
    prompts = [p for run in h.runs() for p in run.input["prompts"]]
    assert (len(prompts), len(set(prompts))) == (8, 3)
    assert round.metrics["prompts_reused"] == 5


def test_labelling_opens_with_the_last_shard_only(hand, monkeypatch):
    from app.settings import get_settings

    monkeypatch.setattr(get_settings(), "shard_prompts", 4)
    h = hand(8)
    h.open()
    first = h.runs()[0]
    with transaction() as s:
        from app.rounds import stages

        stages.generated(s, s.get_one(Run, first.id))
    assert h.round().state == "generating"


def test_the_first_round_says_why_margins_did_not_choose(hand):
    h = hand(8)
    h.open()
    h.generate()
    metrics = h.round().metrics
    assert metrics["acquisition"] == "random"
    assert "every margin is 0" in metrics["acquisition_note"]


def test_certainty_opens_the_pairs_with_the_largest_margins(hand, ann):
    h = hand(8)
    h.open()
    with transaction() as s:
        trained = Policy(
            project_id=h.id, number=9, kind="adapter", base_model="m", path="x", round_id=None
        )
        s.add(trained)
        s.flush()
        s.get_one(Round, h.round().id).policy_in_id = trained.id
    h.generate(margin=lambda i: [0.1, -3.0, 0.2, 0.0, 2.0, -0.4, 1.0, -1.5][i])
    assert sorted(p.margin for p in h.pairs("open")) == [-3.0, 2.0]
    assert h.round().metrics["acquisition"] == "certainty"


def test_entropy_opens_the_prompts_with_the_largest_entropy(hand):
    h = hand(8, acquisition="entropy")
    h.open()
    h.generate()
    assert sorted(p.entropy for p in h.pairs("open")) == [6.0, 7.0]


def test_pairs_that_were_not_chosen_are_unused_once_the_batch_is_complete(hand, ann):
    h = hand(8)
    h.open()
    h.generate()
    label(h, ann)
    assert (len(h.pairs("answered")), len(h.pairs("unused"))) == (2, 6)


def test_a_failure_names_its_stage_and_retry_resumes_there(hand, ann):
    h = hand(8)
    h.open()
    h.generate()
    label(h, ann)
    h.fail("train")
    round = h.round()
    assert (round.state, round.failed_stage, round.error) == ("failed", "training", "out of memory")
    with pytest.raises(Conflict):
        h.open()
    h.do(actions.retry)
    assert h.round().state == "training"
    assert [(r.kind, r.state) for r in h.runs("train")] == [("train", "queued")]


def test_a_failed_evaluation_never_trains_again(hand, ann):
    h = hand(8)
    h.open()
    h.generate()
    label(h, ann)
    h.train()
    h.fail("evaluate")
    h.do(actions.retry)
    assert h.round().state == "evaluating"
    assert [r.state for r in h.runs("train")] == ["done"]


def test_only_a_failed_round_is_retried(hand):
    h = hand(8)
    h.open()
    with pytest.raises(Conflict):
        h.do(actions.retry)


def test_cancel_stops_the_runs_and_lets_the_next_round_open(hand):
    h = hand(8)
    h.open()
    h.do(actions.cancel)
    assert [(r.state, r.cancel_requested) for r in h.runs()] == [("cancelled", True)]
    with pytest.raises(Conflict):
        h.do(actions.cancel)
    assert h.open().number == 2


def test_a_cancelled_rounds_outcome_changes_nothing(hand, ann):
    h = hand(8)
    h.open()
    h.generate()
    label(h, ann)
    h.do(actions.cancel)
    h.train()
    with transaction() as s:
        assert s.scalars(select(Policy.number)).all() == [0]


def test_the_next_round_opens_by_itself_where_the_project_says_so(hand, ann):
    h = hand(8, auto_next=True)
    h.open()
    h.generate()
    label(h, ann)
    h.train()
    h.evaluate()
    assert (h.round().number, h.round().state) == (2, "generating")


def test_training_set_has_one_probability_a_pair(hand, ann):
    h = hand(8)
    h.open()
    h.generate()
    label(h, ann, "left")
    with transaction() as s:
        rows = training_set(s, s.get_one(Round, h.round().id))
        assert len(rows) == 2
        for row in rows:
            from app.models import Preference

            chosen = s.scalars(
                select(Preference.chosen).where(Preference.pair_id == row.pair.id)
            ).one()
            assert row.p == (1.0 if chosen == "a" else 0.0)
            assert row.new


def test_all_labels_so_far_train_and_only_the_batch_is_new(hand, ann):
    h = hand(8)
    for _ in range(2):
        h.open()
        h.generate()
        label(h, ann)
        if h.round().number == 1:
            h.train()
            h.evaluate()
    with transaction() as s:
        rows = training_set(s, s.get_one(Round, h.round().id))
    assert sorted(row.new for row in rows) == [False, False, True, True]


def test_leases_of_a_dead_process_are_freed(hand):
    h = hand(8)
    h.open()
    with transaction() as s:
        run = s.get_one(Run, h.runs()[0].id)
        run.state, run.lease_owner = "running", "host:12:x"
    with transaction() as s:
        assert actions.free_leases(s, "host:1:") == 0
        assert actions.free_leases(s, "host:12:") == 1
    assert h.runs()[0].state == "queued"
