"""The page, and the API's documentation: HTML that needs nothing from another host."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from server.api import EngineOf
from server.samples import all_samples
from server.settings import Settings

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(Path(__file__).parent / "templates")


@router.get("/")
async def index(request: Request, engine: EngineOf) -> HTMLResponse:
    """The demo."""
    settings: Settings = request.app.state.settings
    content = {
        "samples": list(all_samples().values()),
        "models": engine.models(),
        "max_upload_bytes": settings.max_upload_bytes,
    }
    return templates.TemplateResponse(request, "index.html", content)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The OpenAPI document as a page."""
    return templates.TemplateResponse(request, "docs.html", {"document": request.app.openapi()})
