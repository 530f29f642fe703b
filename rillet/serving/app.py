"""The application: endpoints, and what is around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from rillet.serving.edge import Edge
from rillet.serving.openapi import document_of
from rillet.serving.problems import add_problems
from rillet.serving.readiness import Readiness
from rillet.serving.routes import (
    feedback,
    gorse,
    health,
    items,
    metarank,
    rank,
    recommend,
    users,
)
from rillet.serving.service import Service
from stream.settings import Settings

if TYPE_CHECKING:
    from consumers.embedded import Embedded
    from rillet.serving.ranker import Ranker

__all__ = ["create_app"]

ABOUT: Final = """\
Recommendations that follow what users do: for a query, a user or anybody.

Lists are read from Redis, events go to Kafka. A key is sent as `Authorization: Bearer KEY` or
`X-API-Key: KEY`; without `serve.keys` nobody needs one, and the service is for this machine alone.

Whatever goes wrong is told as `application/problem+json` (RFC 9457), with `kind` for programs and
`detail` for people. Where Redis is away, the last known list for everybody is served, with the
header `X-Rillet-Degraded: redis`.
"""

ROUTERS: Final = (
    *(recommend.router, rank.router, items.router, users.reading, users.admin),
    *(
        feedback.router,
        metarank.router,
        gorse.reading,
        gorse.writing,
        health.open_router,
        health.router,
    ),
)
"""In the order of the documentation."""


def create_app(
    settings: Settings, *, ranker: Ranker | None = None, engine: Embedded | None = None
) -> FastAPI:
    """Return the application, which connects when it starts.

    Parameters
    ----------
    settings
        Of everything.
    ranker
        What searches and ranks; it is started and closed with the application. None where only
        lists are served.
    engine
        One that runs in this process, is started and closed with it, and takes the events;
        None where they go to Kafka.
    """
    service = Service(settings, ranker, engine)

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(title="Rillet", description=ABOUT, lifespan=living, docs_url=None, redoc_url=None)
    app.state.service, app.state.readiness = service, Readiness(service)
    for router in ROUTERS:
        # As they are, and not each router as one: finding a route is quicker, and each is known.
        app.router.routes.extend(router.routes)
    app.openapi = document_of(app, open_to_all=service.guard.open)  # type: ignore[method-assign]
    add_problems(app)
    if settings.serve.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.serve.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            expose_headers=["X-Rillet-Degraded", "Retry-After"],
        )
    app.add_middleware(Edge, serve=settings.serve, figures=service.figures)
    return app
