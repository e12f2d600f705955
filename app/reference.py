"""`/docs`: the REST API for reading, made of the OpenAPI document, without a foreign script."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app import web
from app.people.requests import site_of

router = APIRouter(include_in_schema=False)
Json = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A parameter or a member of a body."""

    name: str
    place: str
    type: str
    required: bool
    note: str


@dataclass(frozen=True)
class Call:
    """One call of the API."""

    method: str
    path: str
    text: list[str]
    fields: list[Field] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Its id on the page."""
        return f"{self.method}-{self.path}".lower().translate(str.maketrans("/{}", "-__"))


def calls(document: Json) -> dict[str, list[Call]]:
    """Every call of an OpenAPI document, by its tag."""
    by_tag: dict[str, list[Call]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_call(document, method, path, operation))
    return by_tag


def _call(document: Json, method: str, path: str, operation: Json) -> Call:
    text = operation.get("description") or operation.get("summary") or ""
    content = operation.get("requestBody", {}).get("content", {})
    fields = [
        Field(
            one["name"],
            one["in"],
            type_of(document, one["schema"]),
            one.get("required", False),
            one.get("description") or one["schema"].get("description", ""),
        )
        for one in operation.get("parameters", [])
    ]
    json_schema = content.get("application/json", {}).get("schema", {})
    fields += _members(document, _resolved(document, json_schema))
    return Call(method.upper(), path, text.split("\n\n"), fields, sorted(content))


def _members(document: Json, schema: Json) -> list[Field]:
    required = schema.get("required", [])
    return [
        Field(name, "body", type_of(document, one), name in required, _note(one))
        for name, one in schema.get("properties", {}).items()
    ]


def _note(schema: Json) -> str:
    note = str(schema.get("description", ""))
    if isinstance(schema.get("default"), str | int | float) and schema["default"] != "":
        note = f"{note} Default: {str(schema['default']).lower()}.".strip()
    return note


def _resolved(document: Json, schema: Json) -> Json:
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    found: Json = document.get("components", {}).get("schemas", {}).get(name, {})
    return found if name else schema


def type_of(document: Json, schema: Json) -> str:
    """A schema in a few words: ``1 to 100``, ``left or right``, ``list of text``."""
    schema = _resolved(document, schema)
    if "enum" in schema or "const" in schema:
        return " or ".join(str(value) for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        parts = [type_of(document, one) for one in schema["anyOf"]]
        return " or ".join(dict.fromkeys(parts))
    if schema.get("type") == "array":
        return f"list of {type_of(document, schema.get('items', {}))}"
    if schema.get("type") == "object" and "properties" in schema:
        return "{" + ", ".join(schema["properties"]) + "}"
    if schema.get("format"):
        return str(schema["format"])
    words = {"string": "text", "boolean": "true or false"}
    kind = str(schema.get("type", "anything"))
    return words.get(kind, kind) + _range(schema)


def _range(schema: Json) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and high is None:
        return ""
    return f", {'' if low is None else low} to {'' if high is None else high}".rstrip()


@router.get("/docs")
def reference(request: Request) -> HTMLResponse:
    """The REST API, call by call."""
    return web.render(
        request,
        "reference/page.html",
        section="docs",
        calls=calls(request.app.openapi()),
        address=site_of(request),
    )
