"""Putting the console under the service's ``/console``."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from nicegui import app as pages
from nicegui import ui
from starlette.requests import Request
from starlette.responses import RedirectResponse

from rillet.console.desk import Desk
from rillet.console.frame import MOUNT, frame
from rillet.console.gate import Gate, admission_of
from rillet.console.operations_page import OperationsPage
from rillet.console.quality_page import QualityPage, read_report
from rillet.console.try_page import TryPage
from rillet.console.user_page import UserPage
from rillet.console.watch import Watch
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
        language="en-US",
        tailwind=False,
        binding_refresh_interval=None,
        show_welcome_message=False,
        reconnect_timeout=10.0,
    )
    pages.add_middleware(Gate, guard=service.guard)


async def _to_console() -> RedirectResponse:
    return RedirectResponse(f"{MOUNT}/", 307)


def _add_pages(desk: Desk) -> None:
    locked, watch = not desk.service.guard.open, Watch(desk.service)

    @ui.page("/")
    async def try_it(request: Request, user: str = "") -> None:
        await desk.load()
        who = user or "you"
        with frame("", who, locked=locked):
            await TryPage(desk, who, admission_of(request)).build()

    @ui.page("/user")
    async def of_a_user(user: str = "") -> None:
        await desk.load()
        who = user or "you"
        with frame("user", who, locked=locked):
            await UserPage(desk, who).build()

    @ui.page("/operations")
    async def operations(request: Request, user: str = "") -> None:
        with frame("operations", user, locked=locked):
            await OperationsPage(desk, watch, admission_of(request)).build()

    @ui.page("/quality")
    async def quality(user: str = "") -> None:
        report, problem = await asyncio.to_thread(read_report, desk.service.settings.serve.report)
        with frame("quality", user, locked=locked):
            QualityPage(report, problem).build()
