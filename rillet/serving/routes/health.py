"""Whether the process lives, whether it can do its work, and what it has done."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse, PlainTextResponse

from rillet.serving.docs_page import HEADERS, docs_page
from rillet.serving.guarded import router_for
from rillet.serving.models import Ready
from rillet.serving.problems import MEDIA_TYPE, problem
from rillet.serving.service import service_of

__all__ = ["open_router", "router"]

NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "description": "Redis or Kafka does not answer.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}

open_router = APIRouter(tags=["operations"])
router = router_for("read", "operations")


@open_router.head("/health", include_in_schema=False)
@open_router.get("/health")
async def health() -> dict[str, str]:
    """Tell that the process lives; needs no key."""
    return {"status": "ok"}


@open_router.head("/ready", include_in_schema=False)
@open_router.get("/ready", response_model=Ready, responses=NOT_READY)
async def ready(request: Request) -> Response:
    """Tell whether Redis and Kafka answer; needs no key."""
    found = await request.app.state.readiness.look()
    if found.redis and found.kafka:
        return Response(found.model_dump_json(), media_type="application/json")
    away = [name for name in ("redis", "kafka") if not getattr(found, name)]
    message = f"{' and '.join(away)} cannot be used"
    headers = {"Retry-After": "2"}
    return problem(503, "not-ready", message, more=found.model_dump(), headers=headers)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Return what was done, as Prometheus reads it."""
    figures = service_of(request).figures
    return Response(figures.text(), media_type=figures.media_type)


@open_router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """Return the page that says what can be asked; needs no key, for it tells no secret."""
    base = str(request.base_url).rstrip("/")
    return HTMLResponse(docs_page(request.app.openapi(), base), headers=HEADERS)
