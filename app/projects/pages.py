"""Pages of projects: list, new, overview, prompts, members, settings."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask

from app import charts
from app.database import Db
from app.errors import Problem
from app.labelling import gold, withheld
from app.paging import Page, Paged
from app.people import actions as people
from app.people import group_pages, groups, invitation_pages
from app.people import queries as people_queries
from app.people.access import Actor, may, project_for, role_in
from app.people.models import ROLE_WORDS, Person
from app.policies.models import Policy
from app.projects import actions, dashboard, deletion, figures, form, queries
from app.projects.models import Project, Prompt
from app.rounds import forecast, scatter, story
from app.rounds.models import Round
from app.rounds.queries import open_round_of
from app.settings import get_settings
from app.web import Checked, PageActor, Posted, errors_of, go, policy_names, render, text, texts

router = APIRouter(include_in_schema=False)

MOST_ROUNDS = 200
MOST_DOTS = 600
SHOWN_ROUNDS = 10
MOST_MEMBERS = 500


def shared(db: Session, actor: Actor, project: Project, tab: str) -> dict[str, Any]:
    """What every page of a project needs."""
    role = role_in(db, actor.person.id, project.id)
    return {
        "project": project,
        "p": f"/projects/{project.id}",
        "tab": tab,
        "can_manage": may(actor, role, "manage"),
        "owns": may(actor, role, "own"),
        "can_review": project.adjudicate and may(actor, role, "review"),
    }


@router.get("/projects")
def index(request: Request, actor: PageActor, db: Db, page: Paged) -> HTMLResponse:
    """The projects one may see, and where each stands."""
    found = page.of(db, queries.visible_projects(actor), Project.id, lambda row: row)
    standing = [
        replace(one, round=one.round and gold.as_seen_by(db, actor, one.round))
        for one in figures.standings(db, found["items"], _viewer(actor))
    ]
    return render(
        request,
        "projects/index.html",
        projects=standing,
        next=found["next"],
        demo=get_settings().demo,
    )


@router.get("/projects/new")
def new(request: Request, actor: PageActor) -> HTMLResponse:
    """The form of a new project."""
    actor.require_admin()
    return _form(request, "projects/new.html", form.blank(), {})


@router.post("/projects/new")
def create(request: Request, actor: PageActor, posted: Posted, db: Db) -> Response:
    """Make the project, or show what is wrong."""
    actor.require_admin()
    sent = texts(posted)
    try:
        project = actions.create_project(db, form.parsed(sent), actor.person)
    except Problem as problem:
        db.rollback()
        values = form.refilled(sent)
        return _form(request, "projects/new.html", values, errors_of(problem), problem.status)
    return go(f"/projects/{project.id}")


def _form(
    request: Request,
    template: str,
    values: dict[str, Any],
    errors: dict[str, str],
    status: int = 200,
    **context: Any,
) -> HTMLResponse:
    choices = {
        "strategies": form.strategies(),
        "judges": form.judges(values["judge.kind"]),
    }
    return render(request, template, status, v=values, errors=errors, **choices, **context)


@router.get("/projects/{project_id}")
def home(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """Where the project stands and what to do next."""
    project = project_for(db, actor, project_id, "view")
    rounds = figures.newest_rounds(db, project.id, MOST_ROUNDS)
    rounds = [gold.as_seen_by(db, actor, round) for round in rounds]
    found = dashboard.seen(db, project.id)
    held = figures.as_seen_by(db, project.id, found.figures, _viewer(actor))
    needs = "prompts" if not held.train else None
    if project.source == "imported":
        needs = "pairs" if not held.pool and not rounds else None
    newest = rounds[0] if rounds else None
    context = shared(db, actor, project, "home")
    manages = context["can_manage"]
    response = render(
        request,
        "projects/home.html",
        **context,
        seen=found,
        queue=dashboard.queue(db, newest),
        charts_of_labels=dashboard.drawn(found) if manages else [],
        scatter=_scatter(db, newest, context["p"]) if newest and manages else None,
        figures=held,
        needs_input=needs,
        round=newest,
        forecast=forecast.forecast(db, project),
        stages=story.stages(newest) if newest else [],
        rounds=rounds[:SHOWN_ROUNDS],
        curve=story.learning_curve(rounds),
        strategy_words=form.SHORT,
        policy=db.get(Policy, project.policy_id) if project.policy_id else None,
        policy_name=policy_names(figures.policy_numbers(db, project.id)),
    )
    if found.is_stale:
        response.background = BackgroundTask(dashboard.refresh, project.id)
    return response


def _scatter(db: Session, round: Round, p: str) -> charts.Plot | None:
    """What the newest round chose; before it has chosen, nothing."""
    if round.state in ("queued", "generating") or not round.needed:
        return None
    return scatter.of_round(db, round, MOST_DOTS, f"{p}/pairs")


@router.get("/projects/{project_id}/prompts")
def prompts(
    request: Request, project_id: uuid.UUID, actor: PageActor, db: Db, page: Paged
) -> HTMLResponse:
    """The project's prompts, a page at a time."""
    project = project_for(db, actor, project_id, "view")
    found = page.of(db, queries.prompts_of(project.id), Prompt.id, lambda row: row)
    return render(
        request,
        "projects/prompts.html",
        **shared(db, actor, project, "prompts"),
        prompts=found["items"],
        hidden=withheld.hidden_from(db, project.id, actor)[1],
        hidden_word=withheld.HIDDEN,
        next=found["next"],
        figures=figures.figures(db, project.id, _viewer(actor)),
    )


def _viewer(actor: Actor) -> uuid.UUID | None:
    """Whose own answers to gold count as labels: nobody's where a site admin looks."""
    return None if actor.is_admin else actor.person.id


@router.get("/projects/{project_id}/people")
def members(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """Who works on the project."""
    return _members(request, db, actor, project_for(db, actor, project_id, "manage"))


@router.post("/projects/{project_id}/people")
def add_member(
    request: Request, project_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Add somebody by e-mail address, or change their role."""
    project = project_for(db, actor, project_id, "manage")
    email, role = text(posted, "email"), text(posted, "role")
    try:
        people.add_member(db, project, people.person_called(db, email), role, actor.person.id)
    except Problem as problem:
        db.rollback()
        return _members(request, db, actor, project, email, role, problem)
    return go(f"/projects/{project.id}/people", "member-added")


@router.post("/projects/{project_id}/invitations")
def invite(
    request: Request, project_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Make a link into the project; this answer is the only one that ever shows it."""
    project = project_for(db, actor, project_id, "manage")
    try:
        link = invitation_pages.made(request, db, project, actor.person, posted)
    except Problem as problem:
        db.rollback()
        return _members(request, db, actor, project, refused=problem)
    return _members(request, db, actor, project, link=link)


@router.post("/projects/{project_id}/groups")
def let_group_in(
    request: Request, project_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Give a group a role in the project, or change it."""
    project = project_for(db, actor, project_id, "manage")
    try:
        group = groups.group_called(db, text(posted, "name"))
        groups.let_in(db, project, group, text(posted, "role"), actor.person.id)
    except Problem as problem:
        db.rollback()
        return _members(request, db, actor, project, problem=problem)
    return go(f"/projects/{project.id}/people", "member-added")


@router.post("/projects/{project_id}/people/{person_id}/owner", dependencies=[Checked])
def hand_over(project_id: uuid.UUID, person_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Make a member the owner in one's own place."""
    project = project_for(db, actor, project_id, "own")
    people.hand_over(db, project, person_id, actor.person)
    return go(f"/projects/{project.id}/people", "handed-over")


@router.post("/projects/{project_id}/people/{person_id}/remove", dependencies=[Checked])
def remove_member(
    project_id: uuid.UUID, person_id: uuid.UUID, actor: PageActor, db: Db
) -> Response:
    """End a membership; the labels stay."""
    project = project_for(db, actor, project_id, "manage")
    people.remove_member(db, project, person_id, actor.person.id)
    return go(f"/projects/{project.id}/people", "member-removed")


def _members(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    email: str = "",
    role: str = "annotator",
    problem: Problem | None = None,
    *,
    link: str | None = None,
    refused: Problem | None = None,
) -> HTMLResponse:
    wrong = problem or refused
    given = invitation_pages.role_choices(db, actor, project)
    query = people_queries.members_of(project.id)
    found = Page(MOST_MEMBERS).of(db, query, Person.id, lambda row: row)["items"]
    return render(
        request,
        "projects/members.html",
        wrong.status if wrong else 200,
        **shared(db, actor, project, "members"),
        members=[
            {"person": who, "role": member.role, "created_at": member.created_at}
            for member, who in found
        ],
        groups=groups.in_project(db, project.id),
        group_names=group_pages.names(db),
        group_roles=[one for one in group_pages.ROLE_CHOICES if one[0] in dict(given)],
        by_groups=groups.by_groups(db, project.id),
        owners=sum(member.role == "owner" for member, _ in found),
        email=email,
        role=role,
        role_words=ROLE_WORDS,
        error=problem.detail if problem else None,
        roles=given,
        reaches={role for role, _ in given} | {"oracle"},
        invitations=invitation_pages.shown_of(db, project.id),
        invited_to=f"/projects/{project.id}/invitations",
        invited_roles=given,
        days=invitation_pages.DAYS,
        link=link,
        refused=refused.detail if refused else None,
    )


@router.get("/projects/{project_id}/settings")
def settings(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """The settings as they are."""
    project = project_for(db, actor, project_id, "manage")
    context = shared(db, actor, project, "settings")
    return _form(request, "projects/settings.html", form.filled(project), {}, **context)


@router.post("/projects/{project_id}/settings")
def change(
    request: Request, project_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Store changed settings, or show what is wrong."""
    project = project_for(db, actor, project_id, "manage")
    sent = texts(posted)
    try:
        values = form.parsed(sent, project.judge, project.generation.get("engine"))
        actions.change_project(db, project, values, actor.person.id)
    except Problem as problem:
        db.rollback()
        context = shared(db, actor, project, "settings")
        values, errors = form.refilled(sent), errors_of(problem)
        return _form(request, "projects/settings.html", values, errors, problem.status, **context)
    return go(f"/projects/{project.id}/settings", "settings")


@router.post("/projects/{project_id}/archive", dependencies=[Checked])
def archive(project_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Put a project away: nothing new begins in it, and nothing is lost."""
    project = project_for(db, actor, project_id, "manage")
    actions.change_project(db, project, {"archived": True}, actor.person.id)
    return go(f"/projects/{project.id}/settings", "archived")


@router.post("/projects/{project_id}/unarchive", dependencies=[Checked])
def unarchive(project_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Take it out of the archive."""
    project = project_for(db, actor, project_id, "manage")
    actions.change_project(db, project, {"archived": False}, actor.person.id)
    return go(f"/projects/{project.id}/settings", "unarchived")


@router.get("/projects/{project_id}/delete")
def delete_page(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """What goes with a project, and the question whether it shall."""
    return _delete(request, db, actor, project_for(db, actor, project_id, "own"))


@router.post("/projects/{project_id}/delete")
def delete(
    request: Request, project_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Delete it, where its name was given."""
    project = project_for(db, actor, project_id, "own")
    try:
        deletion.delete_project(db, project, text(posted, "name"), actor.person.id)
    except Problem as problem:
        db.rollback()
        return _delete(request, db, actor, project, problem)
    return go("/projects", "project-deleted")


def _delete(
    request: Request, db: Session, actor: Actor, project: Project, problem: Problem | None = None
) -> HTMLResponse:
    return render(
        request,
        "projects/delete.html",
        problem.status if problem else 200,
        **shared(db, actor, project, "settings"),
        amounts=deletion.amounts(db, project.id),
        open_round=open_round_of(db, project.id),
        error=problem.detail if problem else None,
    )
