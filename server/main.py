"""The demo's server: `uvicorn server.main:app`.

Settings are environment variables, see `server.settings`.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import samples
from server.answering.engine import Engine
from server.errors import add_handlers
from server.routes import api, legacy, pages, results
from server.settings import Settings
from server.uploads import BodyLimit
from snmn.common.commands import sentence
from snmn.common.errors import UserError

_STATIC = Path(__file__).parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class SecurityHeaders:
    """Middleware: what browsers are told not to do with our answers."""

    def __init__(self, app: ASGIApp):
        self.app = app
        self._headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to every answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def create_app(settings: Settings) -> FastAPI:
    """The app; its models are loaded when it starts."""
    engine = Engine(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await engine.start()
        yield
        await engine.stop()

    app = FastAPI(
        title="SNMN demo",
        description="Questions about images, answered step by step by a Stack Neural Module "
        "Network.",
        version="1",
        lifespan=lifespan,
        # FastAPI's own pages load scripts from another host; ours is in server.routes.pages.
        docs_url=None,
        redoc_url=None,
    )
    app.state.engine, app.state.settings = engine, settings
    for module in (api, results, legacy, pages):
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=_STATIC))
    app.mount("/samples", StaticFiles(directory=samples.FOLDER))
    add_handlers(app)
    # The last one is the outermost.
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)
    app.add_middleware(SecurityHeaders)
    return app


def _from_environment() -> FastAPI:
    """The app that uvicorn runs; what its operator can put right ends that with one sentence."""
    try:
        return create_app(Settings.from_environment())
    except (UserError, OSError) as error:
        sys.exit(f"server.main: {sentence(error)}")


app = _from_environment()
