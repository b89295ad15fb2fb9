"""The API of tests that can be walked through; documented at /docs."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from server.results import schemas, views
from server.results.filters import Filters, Listing
from server.results.folder import find_test
from server.routes.api import EngineOf, refusals

router = APIRouter(prefix="/api/results")
_DAY = "private, max-age=86400"  # An image of a test stays what it is.

FiltersOf = Annotated[Filters, Query()]


@router.get("")
def tests(engine: EngineOf) -> list[schemas.TestInfo]:
    """The tests whose questions can be listed, and what these can be filtered by."""
    return [views.info(results) for results in engine.results.values()]


@router.get("/{test}/questions", responses=refusals(404, 422))
def questions(
    engine: EngineOf, test: str, listing: Annotated[Listing, Query()]
) -> schemas.TestedQuestions:
    """The questions of a test that pass all filters, a page of them."""
    return views.questions(find_test(engine.results, test), listing)


@router.get("/{test}/questions/{row}", responses=refusals(404, 422))
def question(engine: EngineOf, test: str, row: int, filters: FiltersOf) -> schemas.TestedImage:
    """A question of a test, its image, and its neighbours among those that pass the filters."""
    return views.image(find_test(engine.results, test), row, filters)


@router.get(
    "/{test}/images/{row}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}} | refusals(404, 422),
)
def image(engine: EngineOf, test: str, row: int, small: bool = False) -> Response:
    """The image of a test's question, as the models see it; made small for lists."""
    data = find_test(engine.results, test).jpeg(row, small=small)
    return Response(data, media_type="image/jpeg", headers={"cache-control": _DAY})
