"""How sure a judge is, out of the log-probabilities of its verdict: by hand, and over a server."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from activedpo.oracles import llm, logprobs
from app.database import transaction
from app.models import Event
from app.settings import get_settings
from tests.oracles.helpers import run_oracle
from tests.oracles.weather import Server, as_json, honest

Make = Callable[..., Any]


def token(said: str, p: float = 0.99, **others: float) -> dict[str, Any]:
    """One token with its alternatives, by probability."""
    top = {said: p, **others}
    return {
        "token": said,
        "logprob": math.log(p),
        "top_logprobs": [{"token": t, "logprob": math.log(q)} for t, q in top.items()],
    }


def content(*tokens: dict[str, Any]) -> dict[str, Any]:
    return {"content": list(tokens)}


def test_the_share_of_a_against_b_at_the_verdicts_token() -> None:
    plain = content(token("better: "), token("[["), token("A", 0.6, B=0.2, tie=0.1), token("]]"))
    assert logprobs.chance_of_first(plain, "A") == pytest.approx(0.75)
    glued = content(
        token('{"verdict":'), token(' "B', 0.6, **{' "A': 0.3, ' "t': 0.1}), token('"}')
    )
    assert logprobs.chance_of_first(glued, "B") == pytest.approx(1 / 3)
    small = content(token("[["), token("b", 0.8, a=0.2, And=0.0001), token("]]"))
    assert logprobs.chance_of_first(small, "B") == pytest.approx(0.2)
    assert logprobs.chance_of_first(content(token("[[tie]]")), "tie") == 0.5


def test_the_verdict_is_the_last_one_that_is_named() -> None:
    said = content(
        token("[["), token("A", 0.9, B=0.1), token("]] no, ["), token("["),
        token("B", 0.75, A=0.25), token("]]"),
    )  # fmt: skip
    assert logprobs.chance_of_first(said, "B") == pytest.approx(0.25)


def test_a_side_that_is_not_listed_has_at_most_what_is_left() -> None:
    said = content(token("[["), token("A", 0.98, **{" A": 0.015}), token("]]"))
    p = logprobs.chance_of_first(said, "A")
    assert p is not None
    assert p == pytest.approx(0.98 / (0.98 + 0.005))


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        {"content": None},
        {"content": [{"token": 1}]},
        {"content": [{"token": "[[A]]", "logprob": "high"}]},
        content(token("nothing of the kind")),
    ],
)
def test_what_cannot_be_known_is_none(given: Any) -> None:
    assert logprobs.chance_of_first(given, "A") is None
    assert logprobs.chance_of_first(content(token("[[A]]")), None) is None


def test_a_lean_to_a_place_cancels_in_log_odds() -> None:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    text, place = 0.8, 5.0
    found = logprobs.both_orders(sigmoid(text + place), sigmoid(-text + place))
    assert found == pytest.approx(sigmoid(text))
    assert logprobs.both_orders(0.0, 1.0) < 1e-12


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ACTIVEDPO_ALLOW_PRIVATE_ADDRESSES", "true")
    monkeypatch.setattr(llm, "FIRST_PAUSE", 0.01)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def attach(it: Any, server: Server, **more: Any) -> Any:
    body = {"kind": "openai", "base_url": server.url, "model": "m", "logprobs": True, **more}
    return it.client.put(f"{it.at}/oracle", json=body)


def sure(body: dict[str, Any], lean: float = 0.0) -> Any:
    """An honest verdict with log-odds 1 for the good text, and a lean to the first place."""
    good = 1.0 if honest(body) == "A" else -1.0
    p = 1 / (1 + math.exp(-(good + lean)))
    verdict = "A" if p > 0.5 else "B"
    status, headers, data = as_json(verdict)
    answer = json.loads(data)
    other = "B" if verdict == "A" else "A"
    tokens = [token('{"verdict": "'), token(verdict, max(p, 1 - p), **{other: min(p, 1 - p)})]
    answer["choices"][0]["logprobs"] = content(*tokens, token('"}'))
    return status, headers, json.dumps(answer).encode()


def test_labels_have_the_probability_of_the_verdicts_token(lab: Make, server: Server) -> None:
    server.plan = lambda body, n: sure(body)
    it = lab(4)
    it.open()
    assert attach(it, server).json()["logprobs"] is True
    run_oracle(it.project_id)
    assert server.requests[0]["top_logprobs"] == 5
    expected = 1 / (1 + math.exp(-1))
    for label in it.labels():
        p = label.p_left if label.choice == "left" else 1 - label.p_left
        assert p == pytest.approx(expected)
        assert [reply["p"] for reply in label.judge["replies"]] == pytest.approx(
            [label.p_left, 1 - label.p_left]
        )
    assert it.client.get(f"{it.at}/oracle").json()["notice"] is None


def test_a_lean_is_averaged_out_where_the_project_says_so(lab: Make, server: Server) -> None:
    server.plan = lambda body, n: sure(body, lean=3.0)  # both orders say A
    it = lab(2)
    it.open()
    attach(it, server, on_disagreement="average")
    run_oracle(it.project_id)
    pairs = {pair.id: pair for pair in it.pairs()}
    for label in it.labels():
        good = "a" if "wonderful" in pairs[label.pair_id].completion_a else "b"
        assert label.chosen == good
    other = lab(2)
    other.open()
    attach(other, server)
    run_oracle(other.project_id)
    assert {label.choice for label in other.labels()} == {"skip"}


def test_an_average_of_bare_verdicts_is_refused(lab: Make, server: Server) -> None:
    it = lab(1)
    answer = attach(it, server, logprobs=False, on_disagreement="average")
    assert answer.status_code == 422
    assert "logprobs" in answer.json()["detail"]


def silent(body: dict[str, Any], n: int) -> Any:
    return as_json(honest(body))


def refusing(body: dict[str, Any], n: int) -> Any:
    if "logprobs" in body:
        return 400, {}, b'{"error": "logprobs are not supported"}'
    return as_json(honest(body))


@pytest.mark.parametrize("plan", [silent, refusing])
def test_a_server_without_them_judges_all_the_same_and_it_is_said_once(
    lab: Make, server: Server, plan: Any
) -> None:
    server.plan = plan
    it = lab(6)
    it.open()
    attach(it, server, concurrency=1)
    run_oracle(it.project_id)
    assert it.round().state == "training"
    assert {label.p_left for label in it.labels()} <= {0.0, 1.0}
    told = it.client.get(f"{it.at}/oracle").json()
    assert "no log-probabilities" in told["notice"]
    with transaction() as s:
        said = s.query(Event).filter_by(project_id=it.project_id, kind="oracle.no_logprobs")
        assert said.count() == 1
