"""Whether the process lives, whether it can do its work, and what it has done."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from rillet.serving.guarded import router_for
from rillet.serving.service import service_of

__all__ = ["open_router", "router"]

open_router = APIRouter(tags=["operations"])
router = router_for("read", "operations")


@open_router.get("/health")
async def health() -> dict[str, str]:
    """Tell that the process lives; needs no key."""
    return {"status": "ok"}


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return what was done, as Prometheus reads it."""
    figures = service_of(request).figures
    return Response(figures.text(), media_type=figures.media_type)
