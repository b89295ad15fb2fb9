"""Errors that a visitor can cause: each has a status, a code for programs, and one sentence."""

import itertools
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect


class DemoError(Exception):
    """A request that cannot be answered; ``extra`` goes into the answer beside the sentence."""

    def __init__(self, status: int, code: str, sentence: str, **extra):
        super().__init__(sentence)
        self.status, self.code, self.sentence, self.extra = status, code, sentence, extra


def validation_sentence(errors: Sequence[dict]) -> str:
    """What pydantic found wrong first, as a sentence."""
    first = errors[0]
    place, tried = _place(first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if tried:  # One error for each kind that was tried, of which none may have been meant.
        message = "This is of no kind that is taken here"
    return f"{place}: {message}." if place else f"{message}."


def _place(location: Sequence[str | int]) -> tuple[str, bool]:
    """A field and the number of its entry, and whether several kinds of values were tried there."""
    field, *rest = [part for part in location if part not in ("query", "path", "body")] or [""]
    numbers = itertools.takewhile(lambda part: isinstance(part, int), rest)
    return ".".join(map(str, (field, *numbers))), any(isinstance(part, str) for part in rest)


def _body(sentence: str, code: str, **extra) -> dict:
    return {"detail": sentence, "code": code, **extra}


def _demo_error(request: Request, error: DemoError) -> JSONResponse:
    headers = {"Retry-After": "1"} if error.status in (409, 429) else None
    return JSONResponse(
        jsonable_encoder(_body(error.sentence, error.code, **error.extra)),
        status_code=error.status,
        headers=headers,
    )


def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    sentences = {404: "There is nothing at this address.", 405: "This address takes other methods."}
    sentence = sentences.get(error.status_code, str(error.detail))
    return JSONResponse(
        _body(sentence, "http"), status_code=error.status_code, headers=error.headers
    )


def _validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
    return JSONResponse(_body(validation_sentence(error.errors()), "invalid"), status_code=422)


def _client_left(request: Request, error: ClientDisconnect) -> Response:
    # Nobody reads this; without it, everyone who leaves early would fill the log with a traceback.
    return Response(status_code=400)


def add_handlers(app: FastAPI) -> None:
    """Give every error of the app the same shape."""
    app.add_exception_handler(DemoError, _demo_error)
    app.add_exception_handler(ClientDisconnect, _client_left)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
