"""What OpenAPI says beyond what FastAPI knows: problem documents, and who is let in."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.settings import get_settings

API = "/api/v1/"
OPEN = frozenset({"/api/v1/sign-in"})
PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457); some carry further members.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_REFERENCE = {"schema": {"$ref": "#/components/schemas/Problem"}}
_REFUSED = {
    "description": "Why not, as a problem document.",
    "content": {"application/problem+json": _REFERENCE},
}
FILES = {
    "/export": (
        "application/jsonl",
        "application/json",
        "application/vnd.apache.parquet",
        "text/csv",
    ),
    "/download": ("application/zip",),
    "/gold/answers": ("application/jsonl",),
    "/me/export": ("application/json",),
    "/people/{person_id}/export": ("application/json",),
}
"""What calls answer that stream a file, by the end of their path; the last that fits counts."""

_METHODS = frozenset({"get", "put", "post", "delete", "patch"})


def install(app: FastAPI) -> None:
    """Make ``app`` describe its errors and its keys."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    setattr(app, "openapi", described)  # noqa: B010  (FastAPI's own way; a plain = is an error)


def _described(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
    if root := get_settings().root_path:
        schema["servers"] = [{"url": root}]
    parts = schema.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if method in _METHODS:
                _complete(path, operation)
    return schema


def _complete(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if path.startswith(API):
        responses.pop("422", None)
        responses["default"] = _REFUSED
        for end, kinds in FILES.items():
            if path.endswith(end):
                binary = {"schema": {"type": "string", "format": "binary"}}
                document = {"schema": {"type": ["object", "array"]}}
                responses["200"]["content"] = {
                    kind: document if kind == "application/json" else binary for kind in kinds
                }
        operation["security"] = [] if path in OPEN else [{"key": []}]
