"""Reading encrypted histories with Temporal's own tools: its remote codec protocol.

The CLI (`--codec-endpoint`) and the UI send what stands in a history here and show what comes back. Whoever may ask may
read every conversation, so it takes the scope `admin`; and a browser gets an answer only on behalf of a page of
CODEC_ORIGINS. The routes are there only where payloads are encrypted.
"""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

from temporal.encryption import UnreadablePayloadError

PREFIX = "/codec"
_JSON = "application/json"
_MAX_BODY_BYTES = 16 * 1024 * 1024
"""Temporal takes 2 MiB for one payload, and 4 MiB for one event; base64 makes a third more of it."""
_SENT_BY_THE_UI = ("Content-Type", "X-Namespace", "Authorization", "Authorization-Extras")


class CodecOrigins:
    """Lets browsers hand what these routes say to the pages of some origins, and nothing else to any page."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """Allow `origins`."""
        self._app = app
        self._shared = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["POST"],
            allow_headers=_SENT_BY_THE_UI,
            allow_credentials=True,  # of a proxy before us; we know no cookies
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or answer a browser that asks whether it may send one."""
        ours = scope["type"] == "http" and scope["path"].startswith(f"{PREFIX}/")
        await (self._shared if ours else self._app)(scope, receive, send)


def codec_routes(codec: PayloadCodec) -> APIRouter:
    """Return the routes of a codec; the protocol is Temporal's, so they stand in no description of ours."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.post("/encode")
    async def encode(request: Request) -> Response:
        """Encrypt, as for input that the UI or CLI is about to send."""
        return await _coded(request, codec.encode)

    @router.post("/decode")
    async def decode(request: Request) -> Response:
        """Decrypt; what is not encrypted comes back as it is."""
        return await _coded(request, codec.decode)

    return router


async def _coded(request: Request, code: Callable[[Sequence[Payload]], Awaitable[list[Payload]]]) -> Response:
    # No page of another origin can send this type without having asked first.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json")
    try:
        payloads = Parse(await _body(request), Payloads(), ignore_unknown_fields=True).payloads
        coded = await code(payloads)
    except (ParseError, UnicodeDecodeError) as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"the body holds no payloads: {error}") from None
    except UnreadablePayloadError as error:
        # Not a 5xx: the UI would ask again, and again; now it shows the payload as it is, and that this failed.
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    return JSONResponse({"payloads": [MessageToDict(payload) for payload in coded]})


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is larger than 16 MiB")
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body broke off") from None
    return bytes(body)
