"""The pages of blind evaluations: the form, the result, what can be done."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import select

from app.database import transaction
from app.models import Evaluation, Outputs, Run
from tests.pages.conftest import Cast, soup

TEXTS = "prompt,completion\n" + "\n".join(f"Eval {n}?,{{name}} <i>says {n}" for n in range(10))


@pytest.fixture
def compared(cast: Cast) -> Cast:
    """The cast's project with eval prompts and two models' outputs."""
    token = {"X-CSRF-Token": cast.owner.token}
    prompts = {"prompts": [{"prompt": f"Eval {n}?", "split": "eval"} for n in range(10)]}
    assert cast.owner.post(f"/api/v1{cast.p}/prompts", json=prompts, headers=token).is_success
    for name in ("ours", "theirs"):
        files = {"file": (f"{name}.csv", TEXTS.format(name=name).encode())}
        answer = cast.owner.submit(f"{cast.p}/outputs", {"name": name}, files=files)
        assert answer.headers["Location"].endswith("?done=outputs"), answer.text
    return cast


def outputs(cast: Cast) -> dict[str, str]:
    with transaction() as session:
        return {one.name: f"outputs:{one.id}" for one in session.scalars(select(Outputs))}


def open_one(cast: Cast, **more: str) -> str:
    sides = outputs(cast)
    sent = {"a": sides["ours"], "b": sides["theirs"], "prompts": "eval", "answered_by": "people"}
    answer = cast.owner.submit(f"{cast.p}/evaluations", {**sent, "stop_early": "on", **more})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def answer_some(cast: Cast, count: int) -> None:
    token = {"X-CSRF-Token": cast.annotator.token}
    for _ in range(count):
        claims = cast.annotator.post(f"/api/v1{cast.p}/claims", json={}, headers=token).json()
        (claim,) = claims["items"]
        choice = "left" if claim["left"].startswith("ours") else "right"
        path = f"/api/v1/claims/{claim['id']}/preference"
        sent = cast.annotator.post(path, json={"choice": choice}, headers=token)
        assert sent.status_code == 201


def test_a_form_opens_it_and_its_page_tells_how_it_goes(compared: Cast) -> None:
    page = open_one(compared)
    shown = soup(compared.owner.get(page))
    assert shown.h1.text == "Evaluation 1: ours against theirs"
    assert "Nobody has answered yet" in shown.text
    assert shown.select_one("#live")["hx-trigger"] == "every 3s"
    answer_some(compared, 3)
    live = soup(compared.owner.get(f"{page}/now"))
    assert "100%" in live.text
    assert [cell.text for cell in live.select("tbody th")] == ["Annotator"]
    answer_some(compared, 5)
    over = soup(compared.owner.get(page))
    assert "ours is better." in over.text
    assert "hx-get" not in over.select_one("#live").attrs
    listed = soup(compared.owner.get(f"{compared.p}/evaluations"))
    assert "1: ours against theirs" in listed.text
    assert "Decided" in listed.text


def test_it_is_closed_and_cancelled_on_its_page(compared: Cast) -> None:
    page = open_one(compared)
    assert compared.owner.submit(f"{page}/close").status_code == 303
    assert "Not decided" in compared.owner.get(page).text
    assert compared.owner.submit(f"{page}/cancel").status_code == 409
    other = open_one(compared, sample="2")
    assert compared.owner.submit(f"{other}/cancel").headers["Location"].endswith("cancelled")
    assert compared.annotator.get(page).status_code == 403
    assert compared.stranger.get(page).status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [("a", ""), ("b", "policy:none"), ("sample", "some"), ("alpha", "2"), ("overlap", "0")],
)
def test_a_wrong_field_is_marked_and_the_others_stay(
    compared: Cast, field: str, value: str
) -> None:
    sides = outputs(compared)
    sent = {"a": sides["ours"], "b": sides["theirs"], "prompts": "eval", "answered_by": "people"}
    answer = compared.owner.submit(f"{compared.p}/evaluations", {**sent, field: value})
    assert answer.status_code == 422
    page = soup(answer)
    assert page.find(id=f"{field}-problem") is not None
    assert page.find(id=field)["aria-invalid"] == "true"
    with transaction() as session:
        assert session.scalars(select(Evaluation)).all() == []


def test_lines_that_cannot_be_taken_are_told_and_outputs_are_deleted(compared: Cast) -> None:
    rows = "prompt,completion\nEval 1?,fine\nnobody asked,x\n"
    files = {"file": ("more.csv", rows.encode())}
    answer = compared.owner.submit(f"{compared.p}/outputs", {"name": "more"}, files=files)
    assert "line 3: prompt: the project has no such prompt" in soup(answer).text
    again = compared.owner.submit(f"{compared.p}/outputs", {"name": "more"}, files=files)
    assert again.status_code == 409
    assert "choose another name" in again.text
    place = outputs(compared)["more"].removeprefix("outputs:")
    removed = compared.owner.submit(f"{compared.p}/outputs/{place}/remove")
    assert removed.headers["Location"].endswith("outputs-removed")
    assert "more" not in outputs(compared)


def test_one_that_failed_says_why_and_is_tried_again(compared: Cast, policy_id: uuid.UUID) -> None:
    page = open_one(compared, a=f"policy:{policy_id}")
    assert "Completions are being written" in compared.owner.get(page).text
    with transaction() as session:
        evaluation = session.scalars(select(Evaluation)).one()
        evaluation.state, evaluation.error = "failed", "the disk is <b>full"
        session.scalars(select(Run).where(Run.kind == "compare")).one().state = "failed"
    failed = compared.owner.get(page)
    assert "the disk is &lt;b&gt;full" in failed.text
    admin = compared.admin.get("/admin/system")
    assert "Evaluation 1 failed" in admin.text
    assert compared.owner.submit(f"{page}/retry").status_code == 303
    assert "Completions are being written" in compared.owner.get(page).text


def test_the_labelling_page_counts_the_evaluation_while_one_has_pairs_of_it(
    compared: Cast,
) -> None:
    open_one(compared)
    progress = f"{compared.p}/label/progress"
    assert compared.annotator.get(progress).json() == {"done": 0, "needed": 10, "number": 0}
    answer_some(compared, 2)
    assert compared.annotator.get(progress).json() == {"done": 2, "needed": 10, "number": 0}
    page = soup(compared.annotator.get(f"{compared.p}/label"))
    assert page.find(id="progress").text == "2 of 10 in this batch"
    token = {"X-CSRF-Token": compared.owner.token}
    path = f"/api/v1{compared.p}/claims"
    compared.owner.post(path, json={"count": 8}, headers=token)
    assert compared.annotator.get(progress).json()["needed"] == 10  # they may come back
    rest = compared.annotator.get(f"{compared.p}/label/rest")
    assert "each is with somebody else" in rest.text


def test_nobody_can_compare_what_is_not_there(cast: Cast) -> None:
    page = soup(cast.owner.get(f"{cast.p}/evaluations"))
    assert "There is only one policy to compare" in page.text
    assert page.find(id="a") is None
