"""A pair flagged as personal data: its text is shown to nobody else until a manager clears it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from app.database import transaction
from app.errors import Gone, NotFound
from app.labelling import batch, withheld
from app.labelling.actions import Answer, held_claims
from app.main import create_app
from app.people import actions as people
from app.people import throttle
from app.people.models import Person
from app.projects.models import Pair, Project, Prompt
from app.rounds import actions as rounds
from app.rounds import queries as round_queries
from app.rounds.models import Event
from tests.labelling.conftest import World, make_world

PERSONAL = ["personal_data"]


@pytest.fixture
def world(database: Engine) -> Callable[..., World]:
    """Makes worlds on the empty database."""
    throttle._shared.cache_clear()
    return make_world


def client_of(it: World, who: str, role: str | None = "annotator") -> TestClient:
    with transaction() as s:
        person = s.get_one(Person, it.person(who, role))
        _, secret = people.add_key(s, person, "admin")
    client = TestClient(create_app())
    client.headers["Authorization"] = f"Bearer {secret}"
    return client


def clear(it: World, pair: Any) -> None:
    with transaction() as s:
        withheld.clear(s, it.project.id, pair, it.person("olga", "owner"))


def test_the_pair_goes_to_nobody_else_and_counts_with_what_was_said(world) -> None:
    it = world(2, overlap=2)
    it.person("bob")
    it.open()
    mine = it.claim("ann")[0]
    others = it.claim("bob")[0]
    assert others.claim.pair_id == mine.claim.pair_id
    it.prefer("ann", mine, "left", flags=PERSONAL)
    assert it.round().answered == 1
    with transaction() as s:
        project = s.get_one(Project, it.project.id)
        assert held_claims(s, project, it.person("bob")) == []
    assert mine.claim.pair_id not in [c.claim.pair_id for c in it.claim("bob", 5)]
    assert mine.claim.pair_id not in [c.claim.pair_id for c in it.claim("eve", 5)]


def test_one_that_is_flagged_and_skipped_is_replaced(world) -> None:
    it = world(3, batch_size=1)
    it.person("bob")
    it.open()
    mine = it.claim("ann")[0]
    it.prefer("ann", mine, "skip", flags=PERSONAL)
    assert [p.id for p in it.pairs("dropped")] == [mine.claim.pair_id]
    (instead,) = it.claim("bob", 5)
    assert instead.claim.pair_id != mine.claim.pair_id
    clear(it, mine.claim.pair_id)
    assert mine.claim.pair_id in [p.id for p in it.pairs("pool")]
    it.prefer("bob", instead, "left")
    assert it.round().state == "training"


def test_many_answers_at_once_withhold_as_well(world) -> None:
    it = world(3)
    it.open()
    held = it.claim("ann", 2)
    answers = [
        (held[0].claim.id, Answer("left", flags=PERSONAL)),
        (held[1].claim.id, Answer("tie")),
    ]
    with transaction() as s:
        stored = batch.prefer_many(s, answers, it.person("ann"), lambda _: None)
    assert [o.new for o in stored] == [True, True]
    with transaction() as s:
        assert withheld.is_withheld(s, held[0].claim.pair_id)
        assert not withheld.is_withheld(s, held[1].claim.pair_id)


def test_who_flagged_by_mistake_takes_it_back(world) -> None:
    it = world(2)
    it.open()
    mine = it.claim("ann")[0]
    said = it.prefer("ann", mine, "skip", flags=PERSONAL)
    again = it.undo("ann", said)
    it.release("ann", again)
    bobs = it.claim("bob")[0]
    assert bobs.claim.pair_id == mine.claim.pair_id
    said = it.prefer("bob", bobs, "left", flags=PERSONAL)
    with pytest.raises(Gone):
        it.prefer("ann", mine, "left")
    with transaction() as s:
        of_pairs = select(Event.kind).where(Event.kind.startswith("pair."))
        kinds = s.scalars(of_pairs.order_by(Event.id)).all()
    assert kinds == ["pair.withheld", "pair.flag_taken_back", "pair.withheld"]


def test_only_managers_read_it_and_one_of_them_clears_it(world) -> None:
    it = world(2, overlap=2)
    it.person("bob")
    it.open()
    bobs = it.claim("bob")[0]
    mine = it.claim("ann")[0]
    it.prefer("bob", bobs, "left")
    it.prefer("ann", mine, "right", flags=PERSONAL)
    at = f"/api/v1/projects/{it.project.id}"
    bob, ann, olga = (
        client_of(it, n, r) for n, r in (("bob", None), ("ann", None), ("olga", "owner"))
    )
    prompt = f"Prompt {mine.prompt.split()[-1]}"

    def seen(client: TestClient) -> str:
        return client.get(f"{at}/preferences").text + client.get(f"{at}/prompts").text

    assert prompt not in seen(bob)
    assert withheld.HIDDEN in seen(bob)
    assert prompt in seen(ann)
    assert prompt in seen(olga)
    (item,) = olga.get(f"{at}/withheld").json()["items"]
    assert (item["pair"], item["prompt"]) == (str(mine.claim.pair_id), prompt)
    assert bob.get(f"{at}/withheld").status_code == 403
    assert bob.post(f"{at}/withheld/{item['pair']}/clear").status_code == 403
    assert olga.post(f"{at}/withheld/{item['pair']}/clear").status_code == 204
    assert olga.post(f"{at}/withheld/{item['pair']}/clear").status_code == 404
    assert prompt in seen(bob)


def test_the_log_names_the_pair_and_no_text(world) -> None:
    it = world(1)
    it.open()
    it.prefer("ann", it.claim("ann")[0], "left", flags=PERSONAL, rationale="She lives at No 7")
    with transaction() as s:
        log = str([(e.kind, e.data) for e in s.scalars(select(Event))])
    for words in ("No 7", "Prompt 0", "a0", "b0", "ann@"):  # whole words: an id may hold an a0
        assert not re.search(rf"\b{words}\b", log), words


def test_another_projects_manager_clears_nothing(world) -> None:
    one, other = world(1), world(1)
    one.open()
    mine = one.claim("ann")[0]
    one.prefer("ann", mine, "left", flags=PERSONAL)
    with pytest.raises(NotFound), transaction() as s:
        withheld.clear(s, other.project.id, mine.claim.pair_id, one.person("ann"))


def same_prompt(it: World, count: int) -> None:
    """Make ``count`` pairs of one prompt, in place of a prompt each."""
    with transaction() as s:
        query = select(Pair).where(Pair.project_id == it.project.id).order_by(Pair.id)
        first, *others = s.scalars(query.limit(count))
        for pair in others:
            pair.prompt_id = first.prompt_id


def test_other_pairs_of_the_prompt_go_to_nobody_and_the_batch_ends_without_them(world) -> None:
    it = world(3)
    same_prompt(it, 2)
    it.person("bob")
    it.open()
    held = {c.claim.pair_id: c for c in it.claim("bob", 3)}
    of_one = [c for c in held.values() if c.prompt == "Prompt 0"]
    assert len(of_one) == 2
    it.prefer("bob", of_one[0], "left", flags=PERSONAL)
    with transaction() as s:
        assert withheld.is_withheld(s, of_one[1].claim.pair_id)
    assert [p.id for p in it.pairs("dropped")] == [of_one[1].claim.pair_id]
    assert it.round().needed == 2
    assert of_one[1].claim.pair_id not in [c.claim.pair_id for c in it.claim("eve", 5)]
    (other,) = [c for c in held.values() if c.prompt != "Prompt 0"]
    it.prefer("bob", other, "left")
    assert it.round().state == "training"


def test_what_was_said_of_them_before_counts(world) -> None:
    it = world(2, overlap=2)
    same_prompt(it, 2)
    it.person("bob")
    it.open()
    first, second = it.claim("ann", 2)
    it.prefer("ann", first, "left")
    it.prefer("ann", second, "right", flags=PERSONAL)
    assert (it.round().answered, it.round().state) == (2, "training")


def test_none_of_them_takes_the_place_of_another(world) -> None:
    it = world(4, batch_size=1)
    same_prompt(it, 3)
    it.person("bob")
    it.open()
    mine = it.claim("ann")[0]
    while mine.prompt != "Prompt 0":
        it.prefer("ann", mine, "skip")
        it.prefer("bob", it.claim("bob")[0], "skip")
        mine = it.claim("ann")[0]
    it.prefer("ann", mine, "skip", flags=PERSONAL)
    for claimed in it.claim("bob", 5):
        assert claimed.prompt != "Prompt 0"


def test_a_withheld_prompt_is_drawn_in_no_later_round(world) -> None:
    it = world(4, batch_size=2)
    same_prompt(it, 3)
    it.open()
    first = it.claim("ann")[0]
    it.act(rounds.cancel, it.round())
    with transaction() as s:
        pair = s.scalars(select(Pair).join(Prompt).where(Prompt.content_hash == "0")).first()
        withheld.withhold(s, pair, it.person("ann"))
    it.open()
    assert {c.prompt for c in it.claim("bob", 5)} <= {"Prompt 3"}
    with transaction() as s:
        project = s.get_one(Project, it.project.id)
        drawn = round_queries.sample_prompts(s, project, 10, 0)
    assert "Prompt 0" not in [p.content for p in drawn]
    assert first.prompt in ("Prompt 0", "Prompt 3")


def test_cleared_they_are_shown_and_drawn_again(world) -> None:
    it = world(3)
    same_prompt(it, 2)
    it.open()
    held = [c for c in it.claim("ann", 3) if c.prompt == "Prompt 0"]
    it.prefer("ann", held[0], "left", flags=PERSONAL)
    bob = client_of(it, "bob")
    at = f"/api/v1/projects/{it.project.id}"
    assert "Prompt 0" not in bob.get(f"{at}/prompts").text
    clear(it, held[0].claim.pair_id)
    assert "Prompt 0" in bob.get(f"{at}/prompts").text
    assert [p.id for p in it.pairs("pool")] == [held[1].claim.pair_id]
    with pytest.raises(NotFound):
        clear(it, held[1].claim.pair_id)  # it was never flagged itself


def test_it_takes_every_flag_of_a_prompt_to_be_cleared(world) -> None:
    it = world(2)
    same_prompt(it, 2)
    it.open()
    first, second = it.claim("ann", 2)
    it.prefer("ann", first, "left", flags=PERSONAL)
    it.prefer("ann", second, "left", flags=PERSONAL)
    clear(it, first.claim.pair_id)
    with transaction() as s:
        assert withheld.is_withheld(s, first.claim.pair_id)
    clear(it, second.claim.pair_id)
    with transaction() as s:
        assert not withheld.is_withheld(s, first.claim.pair_id)
