"""The page, and the API's documentation: HTML that needs nothing from another host."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from server.results.pages import ListingPage, content
from server.routes.api import EngineOf
from server.samples import all_samples
from server.settings import Settings

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(Path(__file__).parents[1] / "templates")


@router.get("/")
async def index(request: Request, engine: EngineOf) -> HTMLResponse:
    """The demo."""
    settings: Settings = request.app.state.settings
    content = {
        "samples": list(all_samples().values()),
        "models": engine.models(),
        "tests": list(engine.results),
        "max_upload_bytes": settings.max_upload_bytes,
    }
    return templates.TemplateResponse(request, "index.html", content)


@router.get("/results")
def results(
    request: Request, engine: EngineOf, wanted: Annotated[ListingPage, Query()]
) -> HTMLResponse:
    """The questions of a test that pass the filters."""
    shown = content(engine.results, wanted)
    return templates.TemplateResponse(request, "results.html", shown)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The OpenAPI document as a page."""
    return templates.TemplateResponse(request, "docs.html", {"document": request.app.openapi()})
