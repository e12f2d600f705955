"""Blind evaluations: asked like any pair, told from them by nothing, and never labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app.database import transaction
from app.errors import Conflict, Gone, Invalid
from app.evaluations import actions, outputs, queries, view
from app.evaluations.actions import Side
from app.labelling import actions as labelling
from app.labelling import withheld
from app.models import Claim, Event, Outputs, Pair, Preference, Project, SetAside, TrainingLabel
from app.projects import figures
from app.projects.export import export, streamed
from app.projects.row import Rejected, Row
from app.quality import queries as quality
from app.rounds import actions as rounds
from tests.evaluations.conftest import OURS, THEIRS, Duel, choice_for

Make = Callable[..., Duel]


def kinds(d: Duel) -> list[str]:
    with transaction() as s:
        return list(s.scalars(select(Event.kind).order_by(Event.id)))


def test_two_imported_models_are_compared_at_once(duel: Make) -> None:
    d = duel(prompts=20)
    e = d.evaluate()
    assert (e.state, e.pairs, e.number) == ("open", 20, 1)
    assert d.say("ann", OURS) == 8  # 2^8 / 9 > 20: enough, and nobody is asked more
    e = d.now(e)
    assert (e.state, e.better) == ("decided", "a")
    found = d.result(e)
    assert (found.pairs, found.answers, found.rate) == (8, 8, 1.0)
    assert found.evidence >= found.needed == 20
    assert found.anytime_low > 0.5
    assert found.low == pytest.approx(0.676, abs=1e-3)
    assert d.claim("ben") == []
    assert [k for k in kinds(d) if k.startswith("evaluation")] == [
        "evaluation.created",
        "evaluation.opened",
        "evaluation.decided",
    ]


def test_the_other_side_may_win_and_all_may_be_asked(duel: Make) -> None:
    d = duel(prompts=12)
    e = d.evaluate(stop_early=False)
    assert d.say("ann", THEIRS) == 12
    assert (d.now(e).state, d.now(e).better) == ("decided", "b")
    assert d.result(e).rate == 0.0


def test_what_is_not_decided_by_the_last_answer_is_closed(duel: Make) -> None:
    d = duel(prompts=4)
    e = d.evaluate()
    d.say("ann", OURS, 2)
    d.say("ann", THEIRS, 1)
    d.say("ann", "tie", 1)
    e = d.now(e)
    assert (e.state, e.better) == ("closed", None)
    assert e.finished_at is not None
    found = d.result(e)
    assert (found.rate, found.pairs, found.waiting) == (0.625, 4, 0)
    assert found.anytime_low < 0.5 < found.anytime_high


def test_ties_and_both_bad_are_half_a_win_and_told_apart(duel: Make) -> None:
    d = duel(prompts=4)
    e = d.evaluate()
    for choice in ("tie", "both_bad", OURS, "skip"):
        d.say("ann", choice, 1)
    (ann,) = d.annotators(e)
    assert (ann.wins, ann.ties, ann.both_bad, ann.losses, ann.skips) == (1, 1, 1, 0, 1)
    assert ann.share is not None
    assert ann.share[0] == pytest.approx(2 / 3)
    assert d.result(e).rate == pytest.approx(2 / 3)


def test_no_side_can_be_told_by_its_letter_or_place(duel: Make) -> None:
    d = duel(prompts=60)
    e = d.evaluate(overlap=2, stop_early=False)
    pairs = d.pairs_of(e)
    assert {pair.swapped for pair in pairs} == {False, True}
    assert all(pair.policy_id is None and pair.external_id is None for pair in pairs)
    for who in ("ann", "ben"):
        seen: Counter[tuple[bool, str]] = Counter()
        for claimed in d.claim(who, 60):
            said = d.prefer(who, claimed, choice_for(claimed, OURS))
            seen[claimed.left.startswith(OURS), str(said.chosen)] += 1
        assert len(seen) == 4  # ours on both sides, and under both letters


def test_it_comes_before_the_batch_and_leaves_it_as_it_is(duel: Make) -> None:
    d = duel(prompts=3, pairs=3)
    d.open()
    e = d.evaluate()
    claimed = d.claim("ann", 10)
    assert [c.claim.evaluation_id for c in claimed] == [e.id] * 3 + [None] * 3
    for c in claimed[:3]:
        said = d.prefer("ann", c, "left")
        assert (said.round_id, said.evaluation_id, said.late) == (None, e.id, False)
    assert d.round().answered == 0
    for c in claimed[3:]:
        d.prefer("ann", c, "left")
    round = d.round()
    assert (round.state, round.answered) == ("training", 3)
    with transaction() as s:
        fixed = s.scalars(select(TrainingLabel)).all()
        said = s.scalars(select(Preference).where(Preference.evaluation_id.is_not(None))).all()
    assert len(fixed) == 3
    assert not {one.preference_id for one in fixed} & {one.id for one in said}
    assert all(one.frozen_in is None for one in said)


def test_its_answers_are_in_no_figure_and_no_export_of_labels(duel: Make) -> None:
    d = duel(prompts=5, pairs=2)
    d.open()
    d.evaluate()
    d.say("ann", OURS, 5)
    with transaction() as s:
        held = figures.figures(s, d.project.id)
        standing = figures.standings(s, [s.get_one(Project, d.project.id)])[0]
        people, _ = quality.of_people(s, d.project.id)
        listed = s.execute(labelling.queries.labels(d.project.id)).all()
        own = s.execute(labelling.queries.labels(d.project.id, d.person("ann"))).all()
    assert (held.labels, held.skips, standing.labels, people) == (0, 0, 0, [])
    assert listed == own == []
    assert b"".join(export(d.project, "jsonl", False)) == b""


def test_a_round_without_labels_does_not_take_them_for_its_own(duel: Make) -> None:
    d = duel(prompts=5, pairs=1)
    d.evaluate()
    d.say("ann", OURS, 5)
    round = d.open()
    d.act(rounds.train_now, round)
    assert d.round().metrics["note"].startswith("No label to train on")


def test_nobody_gets_a_pair_twice_and_no_slot_goes_to_two(duel: Make) -> None:
    d = duel(prompts=4)
    e = d.evaluate(overlap=2, stop_early=False)
    first, second = d.claim("ann", 10), d.claim("ben", 10)
    assert len(first) == len(second) == 4
    assert d.claim("ann", 10) == d.claim("eve", 10) == []
    assert d.left("eve") == 4
    for who, claimed in (("ann", first), ("ben", second)):
        for c in claimed:
            d.prefer(who, c, choice_for(c, OURS if who == "ann" else THEIRS))
    assert d.now(e).state == "closed"
    found = d.result(e)
    assert (found.pairs, found.answers, found.rate) == (4, 8, 0.5)


def test_several_answers_of_a_pair_are_one_observation(duel: Make) -> None:
    """Ten people who say the same of one pair are no ten pairs."""
    d = duel(prompts=1)
    e = d.evaluate(overlap=10)
    for n in range(10):
        d.say(f"p{n}", OURS)
    assert (d.now(e).state, d.result(e).pairs) == ("closed", 1)
    assert d.result(e).evidence < 2


def test_a_pair_counts_as_evidence_once_it_has_all_its_answers(duel: Make) -> None:
    d = duel(prompts=30)
    e = d.evaluate(overlap=2)
    d.say("ann", OURS, 20)
    assert d.now(e).state == "open"
    assert d.result(e).evidence == 1.0
    d.say("ben", OURS, 8)
    assert (d.now(e).state, d.now(e).better) == ("decided", "a")


def test_an_answer_may_be_changed_and_undone_until_it_is_over(duel: Make) -> None:
    d = duel(prompts=3)
    e = d.evaluate()
    (held,) = d.claim("ann")
    said = d.prefer("ann", held, choice_for(held, OURS))
    assert d.result(e).rate == 1.0
    d.amend("ann", said, choice_for(held, THEIRS))
    assert d.result(e).rate == 0.0
    back = d.undo("ann", said)
    assert (back.left, back.right) == (held.left, held.right)
    assert d.result(e).answers == 0
    with pytest.raises(Conflict):
        d.prefer("ann", back, "tie") and d.prefer("ann", back, "left")
    d.do(actions.close, e)
    last = d.annotators(e)[0]
    assert last.ties == 1
    with transaction() as s:
        standing = s.scalars(select(Preference.id).where(Preference.deleted_at.is_(None))).one()
        with pytest.raises(Conflict, match="over"):
            labelling.undo(s, standing, d.person("ann"))


def test_an_answer_that_comes_too_late_is_kept_and_does_not_count(duel: Make) -> None:
    d = duel(prompts=12)
    e = d.evaluate()
    (mine,) = d.claim("ben")
    d.say("ann", OURS)
    assert d.now(e).state == "decided"
    late = d.prefer("ben", mine, choice_for(mine, THEIRS))
    assert late.late
    assert d.result(e).rate == 1.0
    rows = list(view.exported(streamed(queries.answers(e.id))))
    assert Counter((row["late"], row["winner"]) for row in rows) == {
        (False, "a"): 8,
        (True, "b"): 1,
    }


def test_the_export_undoes_what_hid_the_sides(duel: Make) -> None:
    d = duel(prompts=6)
    e = d.evaluate()
    d.say("ann", OURS, 6)
    for row in view.exported(streamed(queries.answers(e.id))):
        assert row["completion_a"].startswith(OURS)
        assert row["completion_b"].startswith(THEIRS)
        assert row["winner"] == "a"
        assert (row["choice"] == "left") == (row["left_was"] == "a")
        assert tuple(row) == view.COLUMNS
        json.dumps(row, default=str)


def test_a_skipped_pair_goes_to_others_and_ends_where_nobody_wants_it(duel: Make) -> None:
    d = duel(prompts=2)
    for who in ("ann", "ben"):
        d.person(who)
    e = d.evaluate()
    assert d.say("ann", "skip") == 2
    assert d.now(e).state == "open"
    assert d.say("ben", "skip", 1) == 1
    assert d.say("ben", OURS, 1) == 1
    e = d.now(e)
    assert (e.state, d.result(e).pairs) == ("closed", 1)


def test_an_undone_skip_asks_again(duel: Make) -> None:
    d = duel(prompts=2)
    e = d.evaluate(overlap=2)
    (held,) = d.claim("ann")
    said = d.prefer("ann", held, "skip")
    assert {pair.slots for pair in d.pairs_of(e)} == {0, 2}
    d.undo("ann", said)
    assert {pair.slots for pair in d.pairs_of(e)} == {2}


def test_sides_that_wrote_the_same_are_a_tie_that_nobody_is_asked_about(duel: Make) -> None:
    d = duel(prompts=3)
    with transaction() as s:
        project = s.get_one(Project, d.project.id)
        for name, last in (("one", "different"), ("two", "otherwise")):
            texts = ["same", "same", last]
            rows = [Row(n, {"prompt": f"Eval {n}", "completion": t}) for n, t in enumerate(texts)]
            outputs.import_outputs(s, project, name, rows, None)
    a, b = Side(outputs=d.outputs("one")), Side(outputs=d.outputs("two"))
    e = d.evaluate(a=a, b=b)
    (held,) = d.claim("ann", 10)
    d.prefer("ann", held, "left" if held.left == "different" else "right")
    e = d.now(e)
    found = d.result(e)
    assert (e.state, found.identical, found.pairs) == ("closed", 2, 3)
    assert found.rate == pytest.approx(2 / 3)


def test_quotas_and_reviews_are_of_rounds(duel: Make) -> None:
    d = duel(prompts=4, pairs=3, quota=1, adjudicate=True)
    e = d.evaluate(overlap=2)
    assert d.say("ann", OURS, 4) == 4
    assert d.say("ben", THEIRS, 4) == 4
    assert d.now(e).state == "closed"
    assert not any(pair.review for pair in d.pairs_of(e))
    d.open()
    assert len(d.claim("ann", 5)) == 1  # the quota is untouched


def test_a_paused_or_archived_project_gives_none_out(duel: Make) -> None:
    d = duel()
    d.evaluate()
    for field in ("paused", "archived"):
        with transaction() as s:
            setattr(s.get_one(Project, d.project.id), field, True)
        assert d.claim("ann") == []
        with transaction() as s:
            setattr(s.get_one(Project, d.project.id), field, False)
    assert len(d.claim("ann")) == 1


def test_who_is_not_asked_gets_none(duel: Make) -> None:
    d = duel(prompts=2)
    d.person("bot", "oracle")
    e = d.evaluate()
    assert d.claim("bot") == []
    d.do(actions.cancel, e)
    e = d.evaluate(answered_by="oracle")
    assert d.claim("ann") == []
    assert d.say("bot", OURS) == 2
    assert d.now(e).state == "closed"
    e = d.evaluate(answered_by="anybody", overlap=2)
    assert len(d.claim("ann", 5)) == len(d.claim("bot", 5)) == 2


def test_labels_set_aside_count_here_neither(duel: Make) -> None:
    d = duel(prompts=4)
    e = d.evaluate()
    d.say("ann", OURS, 2)
    d.say("ben", THEIRS, 1)
    with transaction() as s:
        s.add(SetAside(project_id=d.project.id, person_id=d.person("ann"), reason="careless"))
    assert d.result(e).rate == 0.0
    assert [one.set_aside for one in d.annotators(e)] == [True, False]


def test_what_is_flagged_as_personal_data_is_shown_to_nobody_else(duel: Make) -> None:
    d = duel(prompts=2)
    e = d.evaluate(overlap=2)
    (held,) = d.claim("ann")
    d.prefer("ann", held, "tie", flags=[withheld.PERSONAL])
    assert held.claim.pair_id not in {c.claim.pair_id for c in d.claim("ben", 5)}
    d.say("ann", OURS)
    assert d.now(e).state == "open"
    with transaction() as s:
        pairs = s.scalars(select(Pair).where(Pair.evaluation_id == e.id)).all()
        assert {pair.state for pair in pairs} == {"evaluation"}


def test_closing_takes_what_there_is_and_cancelling_keeps_it(duel: Make) -> None:
    d = duel(prompts=20)
    e = d.evaluate(stop_early=False)
    d.say("ann", OURS, 9)
    assert d.now(e).state == "open"
    closed = d.do(actions.close, e)
    assert (closed.state, closed.better) == ("decided", "a")
    for verb in (actions.close, actions.cancel, actions.retry):
        with pytest.raises(Conflict):
            d.do(verb, e)
    other = d.evaluate()
    (held,) = d.claim("ann")
    cancelled = d.do(actions.cancel, other)
    assert (cancelled.state, cancelled.number) == ("cancelled", 2)
    with transaction() as s:
        assert s.get_one(Claim, held.claim.id).state == "released"
    assert d.prefer("ann", held, "left").late


def test_a_claim_that_ran_out_goes_to_somebody_else(duel: Make) -> None:
    d = duel(prompts=1)
    d.evaluate()
    (held,) = d.claim("ann")
    assert d.claim("ben") == []
    d.expire(held)
    (theirs,) = d.claim("ben")
    d.prefer("ben", theirs, "left")
    with pytest.raises(Gone):
        d.prefer("ann", held, "left")


def test_only_what_the_project_has_can_be_compared(duel: Make) -> None:
    d, other = duel(), duel()
    theirs = other.outputs(OURS)
    for sides, field in (
        ({"a": Side()}, "a"),
        ({"a": Side(d.policy(), d.outputs(OURS))}, "a"),
        ({"b": Side(outputs=theirs)}, "b.outputs"),
        ({"b": Side(policy=other.policy())}, "b.policy"),
        ({"a": Side(outputs=d.outputs(THEIRS))}, "b"),
    ):
        with pytest.raises(Invalid) as error:
            d.evaluate(**sides)
        assert error.value.extra["errors"][0]["field"] == field
    with pytest.raises(Invalid, match="none of these that the outputs answer"):
        d.evaluate(prompts="train")
    with transaction() as s:
        s.get_one(Project, d.project.id).archived = True
    with pytest.raises(Conflict, match="archived"):
        d.evaluate()


def test_a_sample_is_drawn_of_the_prompts_that_both_answer(duel: Make) -> None:
    d = duel(prompts=10)
    d.bring("some", every=2)
    e = d.evaluate(a=Side(outputs=d.outputs("some")), sample=3)
    assert e.pairs == 3
    assert all("Eval" for _ in d.pairs_of(e))
    e = d.evaluate(a=Side(outputs=d.outputs("some")), sample=100)
    assert e.pairs == 5


def test_outputs_are_matched_to_prompts_line_by_line(duel: Make) -> None:
    d = duel(prompts=3)
    rows: list[Any] = [
        Row(1, {"prompt": "Eval 0", "completion": "x"}),
        Row(2, {"prompt": "Eval 0", "completion": "again"}),
        Row(3, {"prompt": "nobody asked", "completion": "x"}),
        Row(4, {"prompt": "Eval 1"}),
        Row(5, {"prompt": "Eval 1", "completion": "  "}),
        Rejected(6, "is no valid JSON"),
        Row(7, {"prompt": "Eval 2", "completion": "y", "model": "big"}),
    ]
    with transaction() as s:
        project = s.get_one(Project, d.project.id)
        made, outcome = outputs.import_outputs(s, project, " other ", rows, None)
        assert (made.name, made.count, outcome.added, outcome.duplicates) == ("other", 2, 2, 1)
        assert sorted(one.line for one in outcome.rejected) == [3, 4, 5, 6]
        assert outcome.ignored == {"model"}
        with pytest.raises(Conflict, match="named other"):
            outputs.import_outputs(s, project, "other", rows, None)
        with pytest.raises(Invalid, match="Line 3: prompt"):
            outputs.import_outputs(s, project, "none", rows[2:3], None)


def test_outputs_that_are_compared_stay(duel: Make) -> None:
    d = duel()
    d.evaluate()
    with transaction() as s:
        with pytest.raises(Conflict):
            outputs.remove(s, s.get_one(Outputs, d.outputs(OURS)), None)
        outputs.remove(s, s.get_one(Outputs, d.bring("third")), None)


NAMES = {
    "round": "(SELECT id FROM rounds LIMIT 1)",
    "mine": "evaluation_id IS NOT NULL",
    "other": "(SELECT id FROM pairs WHERE evaluation_id IS NULL LIMIT 1)",
}


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE claims SET round_id = {round} WHERE {mine}",
        "UPDATE claims SET evaluation_id = NULL",
        "UPDATE preferences SET frozen_in = {round}",
        "UPDATE preferences SET gold = true",
        "UPDATE preferences SET round_id = {round}",
        "UPDATE pairs SET round_id = {round} WHERE {mine}",
        "UPDATE pairs SET state = 'open' WHERE {mine}",
        "UPDATE evaluations SET state = 'decided'",
        "UPDATE evaluations SET outputs_b_id = outputs_a_id",
        "UPDATE evaluations SET policy_a_id = (SELECT id FROM policies LIMIT 1)",
        "UPDATE preferences SET pair_id = {other}",
        "INSERT INTO training_labels (round_id, preference_id, version) "
        "SELECT r.id, p.id, 1 FROM rounds r, preferences p",
        "INSERT INTO runs (id, project_id, evaluation_id, kind, shard, state, attempt, stuck, "
        "cancel_requested, done, total, input, output) SELECT gen_random_uuid(), project_id, id, "
        "'train', 0, 'queued', 0, 0, false, 0, 0, '{}', '{}' FROM evaluations",
    ],
)
def test_the_database_refuses_what_must_not_be(duel: Make, wrong: str) -> None:
    d = duel(prompts=2, pairs=2)
    d.open()
    d.evaluate()
    d.say("ann", OURS, 1)
    with (
        pytest.raises(DBAPIError, match=r"violates|not of this evaluation|never trained"),
        transaction() as s,
    ):
        s.execute(text(wrong.format(**NAMES)) if "{}" not in wrong else text(wrong))
