"""The whole API against its own OpenAPI document, by schemathesis: no fault, no breach."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from app.database import transaction
from app.models import Person

Make = Callable[..., Any]
EXAMPLES = 8
FEW = 2
"""Where there is nothing to choose: the ids are those of the test, and nothing else is sent."""

# Rules that JSON Schema cannot say (a pool no smaller than its batch, an end in the future)
# refuse some of what the document allows: by 422, naming the field. Tests of their own do that.
NOT_SAID = [positive_data_acceptance]

load_all_checks()


def test_the_document_keeps_its_word(lab: Make) -> None:
    it = lab(40, batch_size=30)
    with transaction() as s:
        s.get_one(Person, it.owner_id).role = "admin"
    round_id = it.open()
    claims = it.claim(10)
    said = it.answer([{"claim": one["id"], "choice": "left"} for one in claims[:4]])
    real = {
        "project_id": it.project_id,
        "round_id": round_id,
        "claim_id": uuid.UUID(claims[5]["id"]),
        "preference_id": uuid.UUID(said[0]["id"]),
        "person_id": uuid.uuid4(),
    }
    document = schemathesis.openapi.from_asgi("/openapi.json", it.client.app)
    tried = 0
    asked: set[tuple[str, str]] = set()
    for found in document.get_all_operations():
        operation = found.ok()
        tried += 1
        chosen = [*operation.query, *operation.body] or {
            name.name for name in operation.path_parameters
        } - set(real)

        @settings(
            max_examples=EXAMPLES if chosen else FEW,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=operation.as_strategy())
        def fits(case: Any) -> None:
            body = case.body if isinstance(case.body, dict) else {}
            if body.get("wait"):
                body["wait"] = 0.01  # a long poll is not what is tried here
            for name in case.path_parameters or {}:
                if name in real:
                    case.path_parameters[name] = str(real[name])
            answer = case.call(headers={"Authorization": f"Bearer {it.key}"})
            assert answer.status_code < 500, (case.method, case.path, answer.text)
            # whom a call lets in does not hang on what it says: that is tried once
            again = [ignored_auth] if (case.method, case.path) in asked else []
            asked.add((case.method, case.path))
            case.validate_response(answer, excluded_checks=[*NOT_SAID, *again])

        fits()
    assert tried > 45
