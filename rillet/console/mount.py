"""Putting the console under the service's ``/console``."""

from __future__ import annotations

from fastapi import FastAPI
from nicegui import app as pages
from nicegui import ui
from starlette.requests import Request
from starlette.responses import RedirectResponse

from rillet.console.desk import Desk
from rillet.console.frame import MOUNT, frame
from rillet.console.gate import Gate, caller_of
from rillet.console.try_page import TryPage
from rillet.serving.service import Service

__all__ = ["mount_console"]


def mount_console(app: FastAPI) -> None:
    """Serve the console; once in a process.

    Parameters
    ----------
    app
        The application of :func:`rillet.serving.app.create_app`.
    """
    service: Service = app.state.service
    desk = Desk(service)
    _add_pages(desk)
    app.add_api_route("/", _to_console, include_in_schema=False)
    ui.run_with(
        app,
        mount_path=MOUNT,
        title="Rillet",
        dark=False,
        tailwind=False,
        binding_refresh_interval=None,
        show_welcome_message=False,
        reconnect_timeout=10.0,
    )
    pages.add_middleware(Gate, guard=service.guard)


async def _to_console() -> RedirectResponse:
    return RedirectResponse(f"{MOUNT}/", 307)


def _add_pages(desk: Desk) -> None:
    locked = not desk.service.guard.open

    @ui.page("/")
    async def try_it(request: Request, user: str = "") -> None:
        await desk.shelf.load()
        who = user or "you"
        with frame("", who, locked=locked):
            may_write = "write" in caller_of(request).scopes
            await TryPage(desk, who, may_write=may_write).build()
