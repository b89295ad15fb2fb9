"""Request bodies, read within limits of size and time and kept in memory."""

import json
import sys
from dataclasses import dataclass

import anyio
from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import DemoError, validation_sentence
from server.schemas import Ask

_MAX_FIELDS = 8
_MAX_FIELD_BYTES = 64_000
_LISTS = ("layout", "words", "attention")  # fields that may hold JSON
# A refused body is still taken in, up to here, and forgotten: most clients read the answer only
# after they have sent everything.
_DISCARDED_BYTES, _DISCARDING_SECONDS = 80_000_000, 10.0


class BodyLimit:
    """Middleware: whoever reads a body larger than ``max_bytes`` gets a DemoError (413)."""

    def __init__(self, app: ASGIApp, *, max_bytes: int):
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        length = dict(scope["headers"]).get(b"content-length", b"")
        announced = int(length) if length.isdigit() else 0
        received = 0

        async def limited() -> Message:
            nonlocal received
            if announced > self.max_bytes:
                await self._refuse(receive)
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                await self._refuse(receive, more=message.get("more_body", False))
            return message

        return await self.app(scope, limited, send)

    async def _refuse(self, receive: Receive, *, more: bool = True) -> None:
        discarded = 0
        try:
            with anyio.fail_after(_DISCARDING_SECONDS):
                while more and discarded < _DISCARDED_BYTES:
                    message = await receive()
                    discarded += len(message.get("body", b""))
                    more = message.get("more_body", False)
        except TimeoutError:
            pass  # Whoever is that slow may miss the answer.
        raise DemoError(
            413,
            "too_large",
            f"The upload is too large; at most {self.max_bytes / 1e6:g} MB are taken.",
        )


class _InMemory(MultiPartParser):
    """Starlette's parser, which would write files of a megabyte or more to the disk."""

    spool_max_size = sys.maxsize


@dataclass
class AskedImage:
    """A checked request: what is asked, and the uploaded file's bytes if there is one."""

    ask: Ask
    upload: bytes | None


async def read_ask(request: Request) -> AskedImage:
    """Read a request's body: JSON, or a form with an ``image`` if one is uploaded.

    Raises DemoError: 400 for a body that is none of these, 408 for a slow one, 415 for another
    type, 422 for fields that are missing or wrong.
    """
    seconds = request.app.state.settings.upload_seconds
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        with anyio.fail_after(seconds):
            if kind == "application/json":
                return AskedImage(_checked(Ask.model_validate_json, await request.body()), None)
            if kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
                raise DemoError(
                    415,
                    "body_type",
                    "Send a form (multipart/form-data) or JSON (application/json).",
                )
            return await _read_form(request, kind)
    except TimeoutError:
        raise DemoError(
            408, "slow", f"The request did not arrive within {seconds:g} seconds."
        ) from None


async def _read_form(request: Request, kind: str) -> AskedImage:
    if kind == "multipart/form-data":
        parser = _InMemory(
            request.headers,
            request.stream(),
            max_files=1,
            max_fields=_MAX_FIELDS,
            max_part_size=_MAX_FIELD_BYTES,
        )
    else:
        parser = FormParser(request.headers, request.stream())
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise DemoError(400, "form", f"The form cannot be read: {error.message}") from None
    try:
        fields = dict(form)
        image = fields.pop("image", None)
        if isinstance(image, str) and image:
            raise DemoError(422, "not_a_file", "The field image must hold a file.")
        if any(isinstance(value, UploadFile) for value in fields.values()):
            raise DemoError(422, "not_text", "Only the field image may hold a file.")
        # Browsers send empty fields for what was left out.
        fields = {name: value for name, value in fields.items() if value or name == "question"}
        for name in _LISTS:
            if fields.get(name, "").lstrip().startswith("["):
                fields[name] = _parsed(name, fields[name])
        upload = await image.read() if image else None
        return AskedImage(_checked(Ask.model_validate, fields), upload)
    finally:
        await form.close()


def _parsed(name: str, text: str) -> list:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DemoError(422, "invalid", f"{name}: the text is not valid JSON.") from None


def _checked(validate, body) -> Ask:
    try:
        return validate(body)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise DemoError(400, "json", "The body is not valid JSON.") from None
        raise DemoError(422, "invalid", validation_sentence(error.errors())) from None
