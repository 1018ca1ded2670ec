"""Bodies are JSON, or refused with 415 before anything reads them."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem

_WITH_BODY = ("POST", "PUT", "PATCH")


class JsonOnlyMiddleware:
    """Refuses bodies of another content type."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 415."""
        if scope["type"] == "http" and scope["method"] in _WITH_BODY and not _is_json(Headers(scope=scope)):
            answer = problem(Request(scope), 415, "the content type must be application/json", "invalid_request")
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_json(headers: Headers) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
