"""Pages of projects: making one, its settings, its people, what comes in."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app.database import transaction
from app.models import Project, Prompt
from app.projects import form
from tests.pages.conftest import Browser, Cast, soup


def fields(browser: Browser, path: str) -> dict[str, str]:
    """A form as a browser would send it unchanged."""
    sent = {}
    main = soup(browser.get(path)).select_one("main form")
    for tag in main.find_all(["input", "textarea", "select"]):
        name, kind = tag.get("name"), tag.get("type")
        if tag.name == "select":
            chosen = tag.find("option", selected=True) or tag.find("option")
            sent[name] = chosen["value"]
        elif tag.name == "textarea":
            sent[name] = tag.text
        elif kind not in ("checkbox", "radio") or tag.has_attr("checked"):
            sent[name] = tag.get("value", "")
    return sent


def stored(name: str) -> Project:
    with transaction() as session:
        return session.scalars(select(Project).where(Project.name == name)).one()


def test_the_form_makes_a_project_with_the_defaults_of_the_api(cast: Cast) -> None:
    sent = {**fields(cast.admin, "/projects/new"), "name": "By the form"}
    answer = cast.admin.submit("/projects/new", sent)
    assert answer.status_code == 303
    api = cast.admin.post(
        "/api/v1/projects", json={"name": "By the API"}, headers={"X-CSRF-Token": cast.admin.token}
    )
    made, plain = stored("By the form"), stored("By the API")
    assert api.status_code == 201
    for field in ("batch_size", "pool_size", "source", "acquisition", "generation", "training"):
        assert getattr(made, field) == getattr(plain, field), field
    assert cast.admin.get(answer.headers["Location"]).status_code == 200


def test_every_field_of_the_form_says_what_it_does(cast: Cast) -> None:
    page = soup(cast.admin.get("/projects/new"))
    for tag in page.select("main form input, main form textarea, main form select"):
        if tag.get("type") in ("hidden", "radio", "checkbox"):
            continue
        label = page.find("label", attrs={"for": tag["id"]})
        assert label is not None, tag["name"]
    assert set(form.FIELDS) <= {tag["name"] for tag in page.select("main form [name]")}


def test_what_is_wrong_is_marked_and_what_was_typed_is_kept(cast: Cast) -> None:
    sent = fields(cast.admin, "/projects/new")
    sent |= {"name": "Kept", "batch_size": "0", "training.beta": "much", "guidelines": "Mine\r\nto"}
    answer = cast.admin.submit("/projects/new", sent)
    assert answer.status_code == 422
    page = soup(answer)
    assert page.find(id="training.beta-problem").string == "must be a number"
    assert page.find("input", id="name")["value"] == "Kept"
    sent["training.beta"] = "0.3"
    page = soup(cast.admin.submit("/projects/new", sent))
    assert page.find("input", id="batch_size")["aria-invalid"] == "true"
    with transaction() as session:
        assert session.scalar(select(Project).where(Project.name == "Kept")) is None


def test_settings_are_stored_and_leave_the_rest_alone(cast: Cast) -> None:
    sent = fields(cast.owner, f"{cast.p}/settings")
    sent |= {"guidelines": "Short\r\nand right", "training.lora": "4", "auto_next": "on"}
    answer = cast.owner.submit(f"{cast.p}/settings", sent)
    assert answer.headers["Location"].endswith("?done=settings")
    assert "settings are stored" in cast.owner.get(answer.headers["Location"]).text
    with transaction() as session:
        project = session.get_one(Project, cast.project_id)
        assert project.guidelines == "Short\nand right"
        assert project.training["lora"] == 4
        assert project.training["trainer"] == "packed"
        assert project.auto_next
        assert project.base_model == "tiny"


def test_pasted_prompts_and_a_file_with_a_broken_line_are_counted(cast: Cast) -> None:
    pasted = {"lines": "One\r\n\r\nTwo\r\nWhy is the sea salty?", "split": "eval"}
    page = soup(cast.owner.submit(f"{cast.p}/import/prompts", pasted))
    assert page.select_one(".notice strong").string == "2 added"
    lines = b'{"prompt": "Three"}\n{"prompt": \n{"prompt": "Four"}\n'
    answer = cast.owner.submit(f"{cast.p}/import/prompts", files={"file": ("a.jsonl", lines)})
    page = soup(answer)
    assert page.select_one(".notice strong").string == "2 added"
    assert [cell.string for cell in page.select(".notice tbody td.n")] == ["2"]
    with transaction() as session:
        splits = {prompt.content: prompt.split for prompt in session.scalars(select(Prompt))}
    assert (splits["Two"], splits["Three"]) == ("eval", "train")


def test_a_file_of_no_known_kind_is_refused(cast: Cast) -> None:
    answer = cast.owner.submit(f"{cast.p}/import/pairs", files={"file": ("a.docx", b"x")})
    assert answer.status_code == 422
    assert ".json, .jsonl, .csv, .parquet or .zip" in answer.text


def test_members_come_by_address_and_go_by_name(cast: Cast) -> None:
    form = {"email": "stranger@example.com", "role": "annotator"}
    assert cast.owner.submit(f"{cast.p}/people", form).status_code == 303
    assert cast.stranger.get(cast.p).status_code == 200
    person = cast.people["stranger"]
    assert cast.owner.submit(f"{cast.p}/people/{person}/remove").status_code == 303
    assert cast.stranger.get(cast.p).status_code == 404
    unknown = cast.owner.submit(f"{cast.p}/people", {**form, "email": "who@example.com"})
    assert unknown.status_code == 404
    assert "no person with the address" in unknown.text


def test_an_empty_project_says_what_to_do_next(cast: Cast) -> None:
    sent = {**fields(cast.admin, "/projects/new"), "name": "Empty"}
    home = cast.admin.submit("/projects/new", sent).headers["Location"]
    page = soup(cast.admin.get(home))
    assert page.select_one(".empty .button")["href"] == f"{home}/import"
    refused = cast.admin.submit(f"{home}/rounds")
    assert refused.status_code == 409
    assert "prompts" in refused.text


def test_an_import_of_pairs_names_the_shape_and_counts_the_labels(cast: Cast) -> None:
    lines = b'{"prompt": "P", "chosen": "x", "rejected": "y"}\n'
    sent = {"files": {"file": ("mine.jsonl", lines)}}
    page = cast.owner.submit(f"{cast.p}/import/pairs", {"labels": "on"}, **sent).text
    assert "Recognised as trl: prompt, chosen, rejected." in page
    assert "1 label was stored" in page
    shown = cast.owner.get(f"{cast.p}/import").text
    assert "LMArena battles" in shown


def test_a_server_s_key_stays_with_its_address_and_is_not_shown(cast: Cast) -> None:
    path = f"{cast.p}/settings"

    def store(**changed: str) -> dict[str, Any] | None:
        named = {f"generation.engine.{name}": value for name, value in changed.items()}
        answer = cast.owner.submit(path, fields(cast.owner, path) | named)
        assert answer.headers["Location"].endswith("?done=settings")
        with transaction() as session:
            project = session.get_one(Project, cast.project_id)
            engine: dict[str, Any] | None = project.generation["engine"]
            return engine

    assert store() is None
    first = store(base_url="https://1.1.1.1/v1", model="m", api_key="a secret", lora="on")
    assert first is not None
    assert first["lora"] is True
    page = cast.owner.get(path).text
    assert "https://1.1.1.1/v1" in page
    assert "a secret" not in page
    assert first["api_key"] not in page
    assert store(model="n") == first | {"model": "n"}
    moved = store(base_url="https://1.0.0.1/v1")
    assert moved == first | {"model": "n", "base_url": "https://1.0.0.1/v1", "api_key": None}
    assert store(base_url="") is None


def test_a_server_s_address_is_checked_where_it_is_typed(cast: Cast) -> None:
    path = f"{cast.p}/settings"
    wrong = {"generation.engine.base_url": "gpu:8000", "generation.engine.model": "m"}
    answer = cast.owner.submit(path, fields(cast.owner, path) | wrong)
    assert answer.status_code == 422
    page = soup(answer)
    described = page.find(id="generation.engine.base_url")["aria-describedby"]
    assert "name a host" in " ".join(page.find(id=name).text for name in described.split())
    assert page.find("details", open=True) is not None


def test_questions_are_set_by_the_form_and_come_back(cast: Cast) -> None:
    sent = fields(cast.owner, f"{cast.p}/settings")
    assert "questions.1.title" in sent
    sent |= {
        "questions.0.title": "How helpful?",
        "questions.0.kind": "rating",
        "questions.0.required": "on",
        "questions.1.title": "Which tone?",
        "questions.1.kind": "single",
        "questions.1.options": "warm\r\n\r\n cold ",
        "questions.1.name": "tone",
    }
    answer = cast.owner.submit(f"{cast.p}/settings", sent)
    assert answer.headers["Location"].endswith("?done=settings")
    with transaction() as session:
        asked = session.get_one(Project, cast.project_id).questions
    assert asked == [
        {"name": "how_helpful", "title": "How helpful?", "kind": "rating", "options": None,
         "scale": 5, "required": True},
        {"name": "tone", "title": "Which tone?", "kind": "single", "options": ["warm", "cold"],
         "scale": None, "required": False},
    ]  # fmt: skip
    again = fields(cast.owner, f"{cast.p}/settings")
    assert again["questions.1.options"].split() == ["warm", "cold"]
    again |= dict.fromkeys(("questions.0.title", "questions.0.name"), "")
    assert cast.owner.submit(f"{cast.p}/settings", again).status_code == 303
    with transaction() as session:
        assert [q["name"] for q in session.get_one(Project, cast.project_id).questions] == ["tone"]


def test_a_question_that_cannot_be_is_marked_where_it_stands(cast: Cast) -> None:
    sent = fields(cast.owner, f"{cast.p}/settings")
    sent |= {"questions.1.title": "Which <b>?", "questions.1.kind": "multi"}
    answer = cast.owner.submit(f"{cast.p}/settings", sent)
    assert answer.status_code == 422
    page = soup(answer)
    assert "options" in page.find(id="questions.0-problem").text
    assert page.find(id="questions.0.title")["value"] == "Which <b>?"
