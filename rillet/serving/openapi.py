"""The OpenAPI document: what FastAPI finds out, with keys, problems and the events."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from rillet.serving.event_schema import EVENT_SCHEMAS
from rillet.serving.guarded import GuardedRoute
from rillet.serving.models import Problem
from rillet.serving.problems import MEDIA_TYPE

__all__ = ["document_of", "routes_of"]

SCHEMES: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

ALWAYS: Final = {
    401: "There is no key, or it is not known.",
    403: "The key lacks the scope, or a page of another site asks.",
    422: "Something of the request is not as documented.",
    429: "Too many requests; `Retry-After` says when to come back.",
    503: "Redis or Kafka is away, or there is nothing to read yet; `Retry-After` says when to try.",
}
WITH_BODY: Final = {
    400: "The body is no JSON.",
    408: "The body did not come in time.",
    413: "The body is too long.",
}
ONLY: Final = {("/session/{user}", "get"): {404: "Nothing is known of this user."}}


def document_of(app: FastAPI, *, open_to_all: bool) -> Callable[[], dict[str, Any]]:
    """Return what makes the document, once.

    Parameters
    ----------
    app
        The application, with all its routes.
    open_to_all
        Whether nobody needs a key.
    """
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(_document(app, open_to_all))
        return made

    return document


def _document(app: FastAPI, open_to_all: bool) -> dict[str, Any]:
    with warnings.catch_warnings():
        # One route of two methods has one id there; here each operation gets its own.
        warnings.filterwarnings("ignore", "Duplicate Operation ID")
        found = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
    parts = found.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas.update(EVENT_SCHEMAS)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    parts["securitySchemes"] = SCHEMES
    for path, method, route in routes_of(app):
        _complete(found["paths"][path][method], path, method, route, open_to_all)
    return found


def routes_of(app: FastAPI) -> Iterator[tuple[str, str, APIRoute]]:
    """Yield path, method and route of everything documented."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in sorted(route.methods or ()):
                yield route.path_format, method.lower(), route


def _complete(
    operation: dict[str, Any], path: str, method: str, route: APIRoute, open_to_all: bool
) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    operation["operationId"] = _id(path, method)
    if not isinstance(route, GuardedRoute):
        return
    needed = route.scope_needed
    operation["description"] += f"\n\nNeeds a key with the scope `{needed}`."
    keys: list[dict[str, Any]] = [{"bearer": []}, {"key": []}]
    operation["security"] = [*keys, {}] if open_to_all else keys
    told = ALWAYS | (WITH_BODY if "requestBody" in operation else {}) | ONLY.get((path, method), {})
    for status, words in sorted(told.items()):
        responses[str(status)] = _answer(words)


def _id(path: str, method: str) -> str:
    """Return what generated clients call it.

    Examples
    --------
    >>> _id("/api/recommend/{user}", "get")
    'get_api_recommend_user'
    """
    return "_".join([method, *re.findall(r"\w+", path)])


def _answer(words: str) -> Mapping[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {MEDIA_TYPE: {"schema": schema}}}
