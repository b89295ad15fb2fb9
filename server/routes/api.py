"""The API that the page uses; documented at /docs."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from server import schemas
from server.answering.engine import Engine
from server.answering.questions import MAX_WORDS, check_words
from server.descriptions import MODULE_INFOS
from server.samples import all_samples
from server.uploads import AskedImage, read_ask
from snmn.common.vocabulary import ANSWERS, QUESTION_WORDS
from snmn.network.edits import Edits

router = APIRouter()

_REASONS = {
    400: "the body cannot be read",
    404: "no such model or sample",
    408: "the body did not arrive in time",
    409: "the model is not ready, or needs no download",
    413: "too many bytes or pixels",
    415: "not an image, or a body of another type",
    422: "an unknown word, an empty or overlong question, a damaged image, a missing field, "
    "a layout that the stack cannot run, words or attention that a step cannot have",
    429: "too many questions at once",
}
_FORM = schemas.Ask.model_json_schema()
_FORM["properties"] = _FORM["properties"] | {
    "image": {"type": "string", "format": "binary", "description": "instead of a sample"}
}
_ASK_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/json": {"schema": schemas.Ask.model_json_schema()},
        },
    }
}


def refusals(*statuses: int) -> dict:
    """OpenAPI's entries for answers that refuse a request."""
    return {
        status: {"model": schemas.Error, "description": _REASONS[status]} for status in statuses
    }


def get_engine(request: Request) -> Engine:
    """The engine of the app that a request came to."""
    return request.app.state.engine


EngineOf = Annotated[Engine, Depends(get_engine)]


@router.get("/api/models")
async def models(engine: EngineOf) -> list[schemas.ModelInfo]:
    """All models, and which of them can be asked now."""
    return engine.models()


@router.post("/api/models/{name}/download", status_code=202, responses=refusals(404, 409, 422))
async def download_model(name: str, engine: EngineOf) -> schemas.ModelInfo:
    """Begin to fetch a published model; GET /api/models tells how far it is."""
    return await engine.begin_download(name)


@router.get("/api/samples")
async def samples() -> list[schemas.Sample]:
    """The bundled images, with suggestions of what to ask."""
    return list(all_samples().values())


@router.get("/api/vocabulary")
async def vocabulary() -> schemas.Vocabulary:
    """Words, answers and modules, in the order of all arrays; a model may have more modules."""
    return schemas.Vocabulary(
        words=QUESTION_WORDS, answers=ANSWERS, modules=MODULE_INFOS, max_words=MAX_WORDS
    )


@router.get("/api/check", responses=refusals(422))
async def check(question: str) -> schemas.Check:
    """Which words of a question no model knows."""
    return check_words(question)


@router.post(
    "/api/predict",
    response_model=schemas.Prediction,
    responses=refusals(*_REASONS),
    openapi_extra=_ASK_BODY,
)
async def predict(engine: EngineOf, asked: Annotated[AskedImage, Depends(read_ask)]) -> Response:
    """Answer a question about a sample or an uploaded image, and tell every step.

    With layout, words or attention: what would follow if the model did that.
    """
    prediction = await engine.predict(
        question=asked.ask.question,
        model=asked.ask.model,
        sample=asked.ask.sample,
        upload=asked.upload,
        edits=Edits(asked.ask.layout, asked.ask.words, asked.ask.attention),
    )
    # Made of checked values: serialised as it is, without being validated once more.
    return Response(prediction.model_dump_json(), media_type="application/json")


@router.get("/api/layout", responses=refusals(404, 409, 422, 429))
async def layout(
    engine: EngineOf,
    question: Annotated[str, Query(description="a question, or an expression to find")],
    model: Annotated[str | None, Query(description="name; left out: the default")] = None,
) -> schemas.Layouts:
    """The layout of a question: the model's own, and the expert's."""
    return await engine.layouts(question=question, model=model)


@router.get("/healthz")
async def health(engine: EngineOf) -> schemas.Health:
    """For load balancers: "ok" when all models that will come are in memory."""
    return schemas.Health(status="starting" if engine.starting else "ok", ready=engine.ready)
