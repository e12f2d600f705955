"""A pair's page: from the pool to the policy, for managers alone; and the reviewers' page."""

from __future__ import annotations

import uuid

from sqlalchemy import select, update

from app.database import transaction
from app.labelling import actions as labelling
from app.labelling.actions import Answer
from app.labelling.models import Preference
from app.people import actions as people
from app.people.models import Person
from app.projects.models import Pair, Project
from app.rounds import actions as rounds
from app.rounds.models import Round, TrainingLabel
from tests.pages.conftest import Cast, soup


def answered_pair(cast: Cast) -> uuid.UUID:
    with transaction() as s:
        found = select(Pair.id).where(
            Pair.project_id == cast.project_id, Pair.state == "answered", ~Pair.audit
        )
        return s.scalars(found).one()


def test_it_tells_the_whole_way(cast: Cast, done_round: uuid.UUID) -> None:
    pair = answered_pair(cast)
    page = soup(cast.owner.get(f"{cast.p}/pairs/{pair}"))
    text = " ".join(page.main.get_text(" ").split())
    assert "Rank 1 of 3 by certainty in round 1: chosen." in text
    assert "2.500" in text  # its margin
    for heading in ("Who had it", "Who said what", "What was trained on it"):
        table = page.find("h2", string=heading).find_parent("section").find("tbody")
        assert table is not None, heading
    assert page.find("a", string="Policy 1") is not None


def test_the_round_leads_to_it(cast: Cast, done_round: uuid.UUID) -> None:
    page = soup(cast.owner.get(f"/rounds/{done_round}"))
    links = [a["href"] for a in page.select("table.roomy a") if "/pairs/" in a["href"]]
    assert f"{cast.p}/pairs/{answered_pair(cast)}" in links
    theirs = soup(cast.annotator.get(f"/rounds/{done_round}"))
    assert not [a for a in theirs.select("a") if "/pairs/" in a.get("href", "")]


def test_history_tells_what_was_said_before(cast: Cast, labelling_round: uuid.UUID) -> None:
    annotator = cast.people["annotator"]
    with transaction() as s:
        project = s.get_one(Project, cast.project_id)
        held, _ = labelling.claim_pairs(s, project, annotator, 2)
        said, _ = labelling.prefer(s, held.claim.id, annotator, Answer("tie", rationale="<b>"))
        labelling.amend(s, said.id, annotator, Answer("left"))
        pair = said.pair_id
    found = cast.owner.get(f"/api/v1{cast.p}/pairs/{pair}").json()
    (answer,) = found["answers"]
    assert [one["choice"] for one in answer["history"]] == ["tie", "left"]
    assert [one["version"] for one in answer["history"]] == [1, 2]
    assert found["trained"] == []
    page = cast.owner.get(f"{cast.p}/pairs/{pair}")
    assert "<b>" not in soup(page).main.decode_contents().replace("&lt;b&gt;", "")
    assert "tie" in soup(page).main.text


def test_a_training_is_told_with_the_version_that_it_used(
    cast: Cast, done_round: uuid.UUID
) -> None:
    pair = answered_pair(cast)
    found = cast.owner.get(f"/api/v1{cast.p}/pairs/{pair}").json()
    (used,) = found["trained"]
    with transaction() as s:
        (version,) = s.scalars(
            select(TrainingLabel.version).where(
                TrainingLabel.preference_id == uuid.UUID(used["preference"])
            )
        ).all()
    assert (used["version"], used["round"], used["policy"]) == (version, 1, 1)
    assert found["why"] == "Rank 1 of 3 by certainty in round 1: chosen."


def test_what_was_not_chosen_says_so(cast: Cast, done_round: uuid.UUID) -> None:
    with transaction() as s:
        pool = select(Pair.id).where(Pair.project_id == cast.project_id, Pair.state != "answered")
        pair = s.scalars(pool).one()
    page = soup(cast.owner.get(f"{cast.p}/pairs/{pair}"))
    assert "Rank 3 of 3 by certainty in round 1: not chosen." in page.text
    assert "Nobody has answered it." in page.text


def test_it_is_the_managers(cast: Cast, done_round: uuid.UUID) -> None:
    pair = answered_pair(cast)
    assert cast.annotator.get(f"{cast.p}/pairs/{pair}").status_code == 403
    assert cast.stranger.get(f"{cast.p}/pairs/{pair}").status_code == 404
    assert cast.owner.get(f"{cast.p}/pairs/{uuid.uuid4()}").status_code == 404


def test_a_reviewer_settles_a_disagreement_on_its_page(cast: Cast) -> None:
    from tests.pages.conftest import open_labelling

    with transaction() as s:
        project = s.get_one(Project, cast.project_id)
        project.adjudicate, project.overlap = True, 2
        open_labelling(s, cast.project_id)
        for pair in s.scalars(select(Pair).where(Pair.state == "open")):
            pair.slots = 2
        stranger = s.get_one(Person, cast.people["stranger"])
        people.add_member(s, project, stranger, "reviewer")
    for who, wanted in (("annotator", "a"), ("admin", "b")):
        with transaction() as s:
            project = s.get_one(Project, cast.project_id)
            person = cast.people[who]
            for held in labelling.claim_pairs(s, project, person, 1):
                choice = "left" if held.claim.left_is == wanted else "right"
                labelling.prefer(
                    s, held.claim.id, person, Answer(choice, rationale=f"I like {wanted}")
                )
    assert cast.annotator.get(f"{cast.p}/disagreements").status_code == 403
    page = soup(cast.stranger.get(f"{cast.p}/disagreements"))
    assert page.find("a", string="Disagreements")["aria-current"] == "page"
    form = page.select_one("main form[action*=disagreements]")
    assert "I like a" in page.text
    assert "Annotator" not in page.find("ul").text  # no names
    nothing = cast.stranger.submit(form["action"], {"choice": "other"})
    assert nothing.status_code == 422
    answer = cast.stranger.submit(form["action"], {"choice": "tie", "rationale": "Both do."})
    assert answer.headers["Location"] == f"{cast.p}/disagreements?done=decided"
    assert "No disagreement waits" in cast.stranger.get(f"{cast.p}/disagreements").text
    again = cast.stranger.submit(form["action"], {"choice": "tie"})
    assert again.status_code == 409


def test_a_reviewer_answers_the_projects_questions_and_loses_nothing_on_the_way(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    asked = [
        {"name": "topic", "title": "Topic?", "kind": "single", "options": ["sea", "sky"]},
        {"name": "marks", "title": "Marks?", "kind": "multi", "options": ["short", "odd"]},
    ]
    with transaction() as s:
        project = s.get_one(Project, cast.project_id)
        project.overlap, project.adjudicate = 2, True
        s.execute(update(Pair).where(Pair.round_id == labelling_round).values(slots=2))
        stranger = s.get_one(Person, cast.people["stranger"])
        people.add_member(s, project, stranger, "reviewer")
    for who, wanted in (("annotator", "a"), ("admin", "b")):
        with transaction() as s:
            project = s.get_one(Project, cast.project_id)
            (held,) = labelling.claim_pairs(s, project, cast.people[who], 1)
            choice = "left" if held.claim.left_is == wanted else "right"
            said = Answer(choice, answers={"topic": "sea", "marks": ["short", "odd"]})
            labelling.prefer(s, held.claim.id, cast.people[who], said)
    with transaction() as s:
        s.get_one(Project, cast.project_id).questions = [
            {"scale": None, "required": question["name"] == "topic", **question}
            for question in asked
        ]
    page = soup(cast.stranger.get(f"{cast.p}/disagreements"))
    assert [dd.text for dd in page.select("main dl dd")] == ["sea", "short, odd"] * 2
    form = page.select_one("main form[action*=disagreements]")
    sent = {"choice": "tie", "rationale": "Both do.", "answers.marks": "odd"}
    refused = cast.stranger.submit(form["action"], sent)
    assert refused.status_code == 422
    page = soup(refused)
    assert "answers.topic" in page.select_one("[role=alert]").text
    assert page.find("input", attrs={"name": "rationale"})["value"] == "Both do."
    assert [box["value"] for box in page.select("input[checked]")] == ["odd"]
    taken = cast.stranger.submit(form["action"], {**sent, "answers.topic": "sky"})
    assert taken.status_code == 303
    with transaction() as s:
        decided = s.scalars(select(Preference).where(Preference.review)).one()
        assert decided.answers == {"topic": "sky", "marks": ["odd"]}


def test_a_cancelled_round_made_no_policy_of_it(cast: Cast, labelling_round: uuid.UUID) -> None:
    annotator = cast.people["annotator"]
    with transaction() as s:
        project = s.get_one(Project, cast.project_id)
        for held in labelling.claim_pairs(s, project, annotator, 2):
            said, _ = labelling.prefer(s, held.claim.id, annotator, Answer("left"))
    with transaction() as s:
        rounds.cancel(s, s.get_one(Round, labelling_round))
    (used,) = cast.owner.get(f"/api/v1{cast.p}/pairs/{said.pair_id}").json()["trained"]
    assert (used["policy"], used["state"]) == (None, "cancelled")
