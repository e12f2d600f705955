"""HTTP calls of labelling: claim, answer, amend, undo, give back, list."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.database import Db, commit_now
from app.errors import Invalid, NotFound, Problem
from app.idempotency.route import Once, OnceRoute
from app.labelling import (
    actions,
    batch,
    gold,
    leases,
    markup,
    practice,
    practice_api,
    queries,
    reviewing_api,
    shortcuts_api,
    waiting,
    way_api,
    withheld,
)
from app.labelling.models import Preference
from app.language import _
from app.paging import Paged
from app.people.access import CurrentActor, may, project_for, role_in
from app.projects import questions
from app.projects.models import Pair, Project
from app.storable import Jsonable, Text

router = APIRouter(prefix="/api/v1", tags=["labelling"], route_class=OnceRoute)

router.include_router(practice_api.router)
router.include_router(reviewing_api.router)
router.include_router(way_api.router)
router.include_router(shortcuts_api.router)

NO_RATIONALE = _("rationale: this project wants to know why; say it in a few words.")

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ClaimsIn(BaseModel):
    """How many pairs to claim."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(1, ge=1, le=100, strict=True)
    wait: float = Field(
        0,
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="Seconds to wait for a pair where none is free now.",
    )


class ReleaseIn(BaseModel):
    """Which hold of a claim is given back."""

    model_config = ConfigDict(extra="forbid")

    expires_at: AwareDatetime | None = Field(
        None, description="As it was last told: another page may have renewed the claim since."
    )


class Judge(BaseModel):
    """Which judge said it."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    version: Annotated[Text, Field(max_length=200)] | None = None
    prompt_hash: Annotated[Text, Field(max_length=200)] | None = None


class PreferenceIn(BaseModel):
    """One answer, by the sides that the claim showed."""

    model_config = ConfigDict(extra="forbid")

    choice: Literal["left", "right", "tie", "both_bad", "skip"]
    strength: Annotated[int, Field(ge=1, le=3, strict=True)] | None = None
    rationale: Annotated[Text, Field(max_length=20_000)] | None = None
    p_left: Probability | None = None
    judge: Jsonable | None = None
    seconds: Annotated[float, Field(ge=0, le=604_800, allow_inf_nan=False)] | None = Field(
        None, description="Time on the pair with idle time left out; unset: since the claim."
    )

    flags: list[Literal["unsafe", "personal_data", "broken", "wrong_language"]] | None = Field(
        None, max_length=4, description="What is wrong with the pair, whatever the choice."
    )
    reason: Annotated[Text, Field(max_length=1_000)] | None = Field(
        None, description="Why it is skipped."
    )
    answers: Jsonable | None = Field(
        None, description="To the project's `questions`, by their names."
    )

    @model_validator(mode="after")
    def _reason_of_a_skip(self) -> PreferenceIn:
        if self.reason is not None and self.choice != "skip":
            raise ValueError("reason: says why a pair is skipped; a choice takes a rationale")
        return self

    @model_validator(mode="after")
    def _sides_agree(self) -> PreferenceIn:
        if self.p_left is not None and (
            (self.choice == "left" and self.p_left < 0.5)
            or (self.choice == "right" and self.p_left > 0.5)
        ):
            raise ValueError(f"p_left {self.p_left} is on the other side of ½ than choice")
        if self.judge is not None:
            Judge.model_validate(self.judge)
        return self

    @property
    def by_a_person(self) -> bool:
        """Whether it has to say all that the project wants of people."""
        return self.choice != "skip" and self.judge is None

    def answer(self, project: Project | None) -> actions.Answer:
        """The same, as the actions take it.

        Raises:
            Invalid: the project wants a rationale, or has questions that this does not answer.
        """
        wants = (project.require_rationale, project.questions) if project else queries.NOTHING
        return self.answering(*wants)

    def answering(self, rationale: bool, asked: list[Any]) -> actions.Answer:
        """The same of a project that wants a rationale or asks further questions."""
        if rationale and self.by_a_person and not (self.rationale or "").strip():
            raise Invalid(NO_RATIONALE, field="rationale")
        said = questions.checked(asked, self.answers, complete=self.by_a_person)
        return actions.Answer(**self.model_dump(exclude={"claim", "answers"}), answers=said)


class OneOfMany(PreferenceIn):
    """One answer of many, and the claim that it is for."""

    claim: uuid.UUID


MOST_ANSWERS = 500


class AnswersIn(BaseModel):
    """Up to 500 answers. Each is looked at on its own, so the list itself takes anything."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[
        list[Any],
        Field(
            max_length=MOST_ANSWERS,
            description="Each as for one preference, with `claim`: the claim's id.",
        ),
    ]


WithHtml = Annotated[
    bool, Query(description="Also the texts rendered as safe HTML, under `html`, for a page.")
]


def _blind(db: Db, actor: CurrentActor, project_id: uuid.UUID) -> bool:
    return gold.hides(db, db.get_one(Project, project_id), actor)


def claim_view(claimed: actions.ClaimedPair, html: bool = False) -> dict[str, Any]:
    """A claim as an annotator sees it: nothing that tells who wrote which side."""
    view = {
        "id": claimed.claim.id,
        "expires_at": claimed.claim.expires_at,
        "prompt": claimed.prompt,
        "left": claimed.left,
        "right": claimed.right,
    }
    if html:
        view["html"] = markup.claim_html(claimed.prompt, claimed.left, claimed.right)
    return view


def preference_view(preference: Preference, blind: bool = False) -> dict[str, Any]:
    """A preference as its annotator sees it; ``blind``: gold is hidden from them."""
    return {
        "id": preference.id,
        "claim": preference.claim_id,
        "pair": gold.alias(preference.pair_id) if blind else preference.pair_id,
        "choice": preference.choice,
        "chosen": preference.chosen,
        "left_is": preference.left_is,
        "strength": preference.strength,
        "rationale": preference.rationale,
        "p_left": preference.p_left,
        "judge": preference.judge,
        "flags": preference.flags or [],
        "reason": preference.reason,
        "answers": preference.answers or {},
        "seconds": preference.seconds,
        "late": preference.late,
        "version": preference.version,
        "created_at": preference.created_at,
        "updated_at": preference.updated_at,
    }


@router.post("/projects/{project_id}/claims")
async def claim(
    project_id: uuid.UUID,
    body: ClaimsIn,
    request: Request,
    actor: CurrentActor,
    db: Db,
    once: Once,
    html: WithHtml = False,
) -> dict[str, Any]:
    """Claim further pairs. Empty when nothing is left for this annotator; 403 where the project
    wants practice first.

    With `wait` the answer comes as soon as there is a pair, or after that many seconds.
    `waiting` counts the open pairs that others hold and this annotator may still get.
    """

    def attempt(session: Db) -> dict[str, Any]:
        project = project_for(session, actor, project_id, "label")
        practice.require(session, project, actor)
        if once is not None:
            once.begin(session)
        claimed = actions.claim_pairs(session, project, actor.person.id, body.count)
        held = 0 if claimed else actions.waiting_for_others(session, project, actor.person.id)
        view = {"items": [claim_view(c, html) for c in claimed], "waiting": held}
        if once is not None:  # in the transaction that took them; of none there is none to double
            once.settle(session, view if claimed else None)
        return view

    return await waiting.until(attempt, lambda view: bool(view["items"]), db, request, body.wait)


@router.get("/projects/{project_id}/claims")
def held(
    project_id: uuid.UUID, actor: CurrentActor, db: Db, html: WithHtml = False
) -> dict[str, Any]:
    """The claims this annotator holds now."""
    project = project_for(db, actor, project_id, "label")
    claimed = actions.held_claims(db, project, actor.person.id)
    return {"items": [claim_view(c, html) for c in claimed]}


@router.post(
    "/claims/{claim_id}/preference",
    status_code=201,
    responses={200: {"description": "The same was said before.", "model": dict[str, Any]}},
)
def prefer(
    claim_id: uuid.UUID, body: PreferenceIn, actor: CurrentActor, db: Db, response: Response
) -> dict[str, Any]:
    """Answer a claim: 201; the same again: 200 with the same preference."""
    me = actor.person.id
    place = batch.place_of(db, claim_id, me)
    if place is None:  # somebody else's, or none
        project = _allowed(actor, db, claim_id)
    else:
        project = project_for(db, actor, place[0], "label")
    blind = project is not None and gold.hides(db, project, actor)
    preference, new = batch.prefer_one(db, claim_id, me, body.answer(project), place)
    commit_now(db)
    if not new:
        response.status_code = 200
    return preference_view(preference, blind)


@router.post("/claims/preferences")
def prefer_many(body: AnswersIn, actor: CurrentActor, db: Db, _: Once) -> dict[str, Any]:
    """Answer up to 500 claims in one call, each on its own: see its `status`.

    An item that cannot be taken carries the members of a problem document.
    """
    read = [_read(item) for item in body.items]
    wants = queries.demands(db, [one.claim for one in read if isinstance(one, OneOfMany)])
    checked = [_checked(one, wants) for one in read]
    answers = [one for one in checked if isinstance(one, tuple)]
    stored = iter(
        batch.prefer_many(db, answers, actor.person.id, lambda id: _may_label(actor, db, id))
    )
    outcomes = [
        next(stored) if isinstance(one, tuple) else batch.Outcome(problem=one) for one in checked
    ]
    projects = {one.preference.project_id for one in outcomes if one.preference}
    blind = {project for project in projects if _blind(db, actor, project)}
    return {
        "items": [
            _outcome_view(raw, outcome, blind)
            for raw, outcome in zip(body.items, outcomes, strict=True)
        ]
    }


def _read(item: Any) -> OneOfMany | Invalid:
    try:
        return OneOfMany.model_validate(item)
    except ValidationError as error:
        faults = [
            {"field": ".".join(map(str, e["loc"])), "message": _plain(e["msg"])}
            for e in error.errors(include_url=False, include_input=False)
        ]
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in faults[:5])
        return Invalid(detail, errors=faults)


def _checked(
    one: OneOfMany | Invalid, wants: dict[uuid.UUID, queries.Wants]
) -> tuple[uuid.UUID, actions.Answer] | Invalid:
    """The answer, or what its project misses in it."""
    if isinstance(one, Invalid):
        return one
    try:
        return one.claim, one.answering(*wants.get(one.claim, queries.NOTHING))
    except Invalid as problem:
        return problem


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")


def _outcome_view(item: Any, outcome: batch.Outcome, blind: set[uuid.UUID]) -> dict[str, Any]:
    if outcome.preference is not None:
        view = preference_view(outcome.preference, outcome.preference.project_id in blind)
        return {"status": 201 if outcome.new else 200, **view}
    problem = outcome.problem or Problem("The answer was not stored.")
    claim = item.get("claim") if isinstance(item, dict) else None
    return {
        "claim": claim[:100] if isinstance(claim, str) else None,
        "status": problem.status,
        "type": "about:blank",
        "title": problem.title,
        "detail": problem.detail,
        **problem.extra,
    }


def _may_label(actor: CurrentActor, db: Db, project_id: uuid.UUID) -> None:
    project_for(db, actor, project_id, "label")


@router.post("/claims/{claim_id}/release")
def release(
    claim_id: uuid.UUID, actor: CurrentActor, db: Db, body: ReleaseIn | None = None
) -> dict[str, Any]:
    """Give a claim back to the others; with `expires_at` only if it was not renewed since."""
    _allowed(actor, db, claim_id)
    until = body.expires_at if body else None
    return {"id": claim_id, "released": actions.release(db, claim_id, actor.person.id, until)}


@router.post("/claims/{claim_id}/renew")
def renew(claim_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Hold a claim longer, as a heartbeat while its pair is read: as long again from now on.

    One that ran out is taken up again where nobody else has the pair; 410 where somebody has, or
    its batch is over; 409 where it is answered.
    """
    project = _allowed(actor, db, claim_id)
    if project is None:
        raise NotFound(_("There is no such claim of yours."))
    claim = leases.renew(db, project, claim_id, actor.person.id)
    return {"id": claim.id, "expires_at": claim.expires_at}


@router.put("/preferences/{preference_id}")
def amend(
    preference_id: uuid.UUID, body: PreferenceIn, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Amend one's own answer until its batch is complete; the earlier value stays on record."""
    said = body.answer(_allowed(actor, db, preference_id))
    preference = actions.amend(db, preference_id, actor.person.id, said)
    return preference_view(preference, _blind(db, actor, preference.project_id))


@router.delete("/preferences/{preference_id}")
def undo(preference_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Undo one's own answer until its batch is complete; the claim is held again."""
    _allowed(actor, db, preference_id)
    return {"claim": claim_view(actions.undo(db, preference_id, actor.person.id))}


@router.get("/projects/{project_id}/preferences")
def preferences(project_id: uuid.UUID, actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """Every label, oldest first; annotators see their own only."""
    project = project_for(db, actor, project_id, "view")
    manages = may(actor, role_in(db, actor.person.id, project_id), "manage")
    query = queries.labels(project_id, None if manages else actor.person.id)
    found = page.of(db, query, Preference.id, _label_view)
    hidden, _ = withheld.hidden_from(db, project_id, actor)
    blind = gold.hides(db, project, actor)
    for label in found["items"]:
        if label["pair"] in hidden:
            label["prompt"] = withheld.HIDDEN
        if blind:  # what only some pairs have would tell them apart
            label |= {"pair": gold.alias(label["pair"]), "external_id": None, "policy": None}
    return found


def _label_view(row: tuple[Preference, Pair, Any, str]) -> dict[str, Any]:
    preference, pair, prompt, annotator = row
    return {
        "id": preference.id,
        "pair": preference.pair_id,
        "external_id": pair.external_id,
        "prompt": prompt,
        "choice": preference.choice,
        "chosen": preference.chosen,
        "left_is": preference.left_is,
        "strength": preference.strength,
        "rationale": preference.rationale,
        "answers": preference.answers or {},
        "p_left": preference.p_left,
        "judge": preference.judge,
        "annotator": annotator,
        "round": preference.round_id,
        "policy": pair.policy_id,
        "seconds": preference.seconds,
        "created_at": preference.created_at,
    }


def _allowed(actor: CurrentActor, db: Db, subject: uuid.UUID) -> Project | None:
    """A key of one project, or a person who was taken out of it, reaches nothing else.

    Ownership of the claim or preference itself is the action's own check.
    """
    project_id = queries.project_of(db, subject)
    return None if project_id is None else project_for(db, actor, project_id, "label")
