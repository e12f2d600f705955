"""Pages of rounds: the list, one round with its live progress, and what can be done to it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from fastapi.sse import format_sse_event
from sqlalchemy.orm import Session

from activedpo import acquisition
from app import news
from app.database import Db, transaction
from app.labelling import gold, withheld
from app.language import _, stored
from app.leaving import leaving
from app.oracles import queries as oracles
from app.oracles import story as oracle_story
from app.people.access import Actor, may, project_for, role_in
from app.projects.figures import newest_rounds, policy_numbers
from app.projects.models import Project
from app.rounds import actions, figures, forecast, missing, queries, scatter, story
from app.rounds.api import round_for
from app.rounds.models import CLOSED, Round
from app.system.queries import lacking
from app.turns import in_turn
from app.web import Checked, PageActor, go, html, policy_names, render

router = APIRouter(include_in_schema=False)

RUN_WORDS = {
    "queued": _("waits"),
    "running": _("runs"),
    "done": _("done"),
    "failed": _("failed"),
    "cancelled": _("cancelled"),
}
MOST_ROUNDS = 50
MOST_PAIRS = 200
MOST_DOTS = 1_500
MOST_EVENTS = 100
LOOK_AT_MOST_EVERY_SECONDS = 1.0
LONGEST_STREAM_SECONDS = 600  # browsers come back by themselves
PAIR_WORDS = {
    "open": _("waits"),
    "answered": _("answered"),
    "dropped": _("skipped by all"),
    "unused": _("not answered"),
    "pool": _("not answered"),
    "equal": _("both the same"),
}


def _manages(db: Session, actor: Actor, project: Project) -> bool:
    return may(actor, role_in(db, actor.person.id, project.id), "manage")


@router.get("/projects/{project_id}/rounds")
def rounds_page(
    request: Request, project_id: uuid.UUID, actor: PageActor, db: Db, before: int | None = None
) -> HTMLResponse:
    """All rounds of a project, the newest first."""
    project = project_for(db, actor, project_id, "view")
    rounds = newest_rounds(db, project.id, MOST_ROUNDS + 1, before)
    rounds = [gold.as_seen_by(db, actor, round) for round in rounds]
    can_manage = _manages(db, actor, project)
    newest = before is None and (not rounds or rounds[0].state in CLOSED)
    return render(
        request,
        "rounds/index.html",
        project=project,
        p=f"/projects/{project.id}",
        tab="rounds",
        can_manage=can_manage,
        can_start=can_manage and newest,
        rounds=rounds[:MOST_ROUNDS],
        forecast=forecast.forecast(db, project),
        next=rounds[MOST_ROUNDS - 1].number if len(rounds) > MOST_ROUNDS else None,
        policy_name=policy_names(policy_numbers(db, project.id)),
        error=None,
    )


@router.post("/projects/{project_id}/rounds", dependencies=[Checked])
def start(project_id: uuid.UUID, actor: PageActor, db: Db) -> RedirectResponse:
    """Open the next round."""
    project = project_for(db, actor, project_id, "manage")
    round = actions.open_round(db, project, actor.person.id)
    return go(f"/rounds/{round.id}")


@router.get("/rounds/{round_id}")
def round_page(request: Request, round_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """One round: what it does, how far it is, what was chosen and why, how it went."""
    round = round_for(db, actor, round_id, "view")
    context = _moving(db, actor, round)
    over = round.state in CLOSED
    # While people label, scores stay with those who run the project: they must not sway anyone
    blind = gold.hides(db, context["project"], actor)  # whose pairs the list would set apart
    show_pairs = (context["can_manage"] or (over and not blind)) and round.needed > 0
    show_pairs = show_pairs and round.state not in ("queued", "generating")
    chosen = figures.batch(db, round, MOST_PAIRS + 1) if show_pairs else []
    pairs_at = f"{context['p']}/pairs" if context["can_manage"] else None
    hidden, __ = withheld.hidden_from(db, round.project_id, actor)
    chosen = [pair.without_text(withheld.HIDDEN) if pair.id in hidden else pair for pair in chosen]
    return render(
        request,
        "rounds/round.html",
        **context,
        live=not over,
        show_pairs=show_pairs,
        titles={one["name"]: one["title"] for one in context["project"].questions},
        chosen_how=_how(round),
        scatter=scatter.of_round(db, round, MOST_DOTS, pairs_at) if show_pairs else None,
        pairs=chosen[:MOST_PAIRS],
        more_pairs=len(chosen) > MOST_PAIRS,
        pair_words=PAIR_WORDS,
        run_words=RUN_WORDS,
        stage_words=story.STAGE_WORDS,
        runs=queries.runs_of(db, round.id),
        metrics=story.listed(round.metrics),
        events=figures.newest_events(db, round.id, MOST_EVENTS),
    )


def _moving(
    db: Session, actor: Actor, round: Round, pace: story.Pace | None = None
) -> dict[str, Any]:
    """What changes while a round runs."""
    project = db.get_one(Project, round.project_id)
    blind = gold.hides(db, project, actor)
    round = gold.as_seen_by(db, actor, round)
    runs = queries.runs_of(db, round.id)
    lacks = lacking(db, runs)
    trained = round.policy_out_id is not None and round.policy_out_id != round.policy_in_id
    return {
        "project": project,
        "p": f"/projects/{project.id}",
        "round": round,
        "can_manage": _manages(db, actor, project),
        "next_round": figures.round_numbered(db, project.id, round.number + 1),
        "headline": story.headline(round),
        "note": stored(round.metrics.get("note", "")),
        "stages": story.stages(round),
        "working": story.working(round, runs, pace, lacks),
        "labelling": round.needed > 0 and round.state not in ("queued", "generating"),
        "people": figures.labellers(db, round.id, actor.person.id if blind else None),
        "oracle": _oracle(db, round),
        "missing": missing.missing(db, project, round),
        "outcome": story.outcome(round.metrics, trained=trained),
        "curves": story.curves(round.metrics),
    }


def _oracle(db: Session, round: Round) -> tuple[str, bool] | None:
    if round.state != "labelling":
        return None
    return oracle_story.in_round(db, oracles.attached(db, round.project_id))


def _how(round: Round) -> str:
    metrics = round.metrics
    strategy, wanted = str(metrics.get("acquisition", "")), metrics.get("acquisition_wanted")
    if metrics.get("acquisition_note"):
        return _why_not(strategy, wanted) if wanted else stored(str(metrics["acquisition_note"]))
    if not strategy:
        return ""
    numbers = {"strategy": strategy, "n": round.needed, "pool": metrics.get("pool")}
    # Of imported pairs `random` scores none: all that are open are the pool
    if not numbers["pool"]:
        return _("%(n)s of all open pairs, chosen by %(strategy)s.", **numbers)
    if metrics.get("audit"):
        return _(
            "%(n)s of a pool of %(pool)s, chosen by %(strategy)s; %(audit)s of them at random, "
            "as an audit.",
            audit=metrics["audit"],
            **numbers,
        )
    return _("%(n)s of a pool of %(pool)s, chosen by %(strategy)s.", **numbers)


def _why_not(strategy: str, wanted: str) -> str:
    """Why the cold start chose and not the project's own strategy: see ``selection``."""
    names = {"strategy": strategy, "wanted": wanted}
    if acquisition.strategy(wanted).needs_margin:
        return _(
            "%(wanted)s reads margins, and before the first training every margin is 0: "
            "%(strategy)s chose this batch.",
            **names,
        )
    return _(
        "%(wanted)s learns from labels, and before the first training there are none: "
        "%(strategy)s chose this batch.",
        **names,
    )


@router.post("/rounds/{round_id}/{verb}", dependencies=[Checked])
def act(
    round_id: uuid.UUID,
    verb: Literal["cancel", "retry", "train"],
    actor: PageActor,
    db: Db,
) -> RedirectResponse:
    """Cancel, retry or cut short."""
    round = round_for(db, actor, round_id, "manage")
    action = {"cancel": actions.cancel, "retry": actions.retry, "train": actions.train_now}[verb]
    action(db, round, actor.person.id)
    return go(f"/rounds/{round_id}", "cancelled" if verb == "cancel" else None)


@router.get("/rounds/{round_id}/events")
def events(request: Request, round_id: uuid.UUID, actor: PageActor, db: Db) -> StreamingResponse:
    """The moving parts of the round's page, sent again soon after they change."""
    round_for(db, actor, round_id, "view")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = _changes(request, actor, round_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _changes(request: Request, actor: Actor, round_id: uuid.UUID) -> AsyncIterator[bytes]:
    sent: dict[str, str] = {}
    pace: story.Pace | None = None
    ends = time.monotonic() + LONGEST_STREAM_SECONDS
    async with news.listening(round_id) as ear:
        # A process that leaves says so: the browser comes back, to another one
        while time.monotonic() < ends and not leaving.is_set():
            ear.forget()
            parts, over, pace = await in_turn(_look, request, actor, round_id, pace)
            for name, part in parts.items():
                if sent.get(name) != part:
                    sent[name] = part
                    yield format_sse_event(event=name, data_str=part)
            if over:
                yield format_sse_event(event="end", data_str="over")
                return
            await asyncio.sleep(LOOK_AT_MOST_EVERY_SECONDS)
            await ear.wait()


def _look(
    request: Request, actor: Actor, round_id: uuid.UUID, before: story.Pace | None
) -> tuple[dict[str, str], bool, story.Pace | None]:
    with transaction() as db:
        round = db.get(Round, round_id)
        if round is None:
            return {}, True, None
        pace = story.Pace.after(before, round, time.monotonic())
        context = _moving(db, actor, round, pace)
        parts = {
            "round": html(request, "rounds/_live.html", **context),
            "figures": html(request, "rounds/_figures.html", **context),
        }
        return parts, round.state in CLOSED, pace
