"""Routes that let nothing pass in silence: neither a mistyped query parameter nor a body that is not JSON.

What a body may hold is the matter of its model; here it becomes JSON, or 400, 413 or 415 before anything is done.
"""

import json
from collections import Counter
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, NoReturn

from fastapi import HTTPException, Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from core.orchestrator.access.caller import Caller

_JSON = "application/json"
_IDEMPOTENCY_KEY = "Idempotency-Key"
"""Ignoring it would break the promise that its sender relies on."""
_MAX_BODY_BYTES = 1024 * 1024
_MAX_DISCARDED_BYTES = 16 * _MAX_BODY_BYTES
"""So much is read of a body that is too large: a client that is still sending when we close may miss the answer."""


class StrictRoute(APIRoute):
    """A route of `/api`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Check the query and the body before the route's own handler sees them."""
        handle = super().get_route_handler()
        known = self._names(params.Query)
        headers = self._names(params.Header)
        has_body = self.body_field is not None

        async def checked(request: Request) -> Response:
            _check_query(request, known)
            for name in headers:
                if len(request.headers.getlist(name)) > 1:
                    raise _refusal(("header", name), "is given more than once")
            if not has_body:
                return await handle(request)
            if _IDEMPOTENCY_KEY in request.headers and _IDEMPOTENCY_KEY not in headers:
                raise _refusal(("header", _IDEMPOTENCY_KEY), "is not supported here")
            if not _is_json(request):
                raise HTTPException(
                    HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json", {"Accept": _JSON}
                )
            body = _JsonRequest(request.scope, request.receive)
            if not await body.body():
                raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is empty")
            return await handle(body)

        return checked

    def _names(self, kind: type[params.Param]) -> set[str]:
        return {field.alias for field in get_flat_params(self.dependant) if isinstance(field.field_info, kind)}


class _JsonRequest(Request):
    """A request whose body is at most 1 MiB of JSON in UTF-8.

    A user that the key settles need not be named: the body is read as if it had been.
    """

    _content: bytes | None = None

    async def body(self) -> bytes:
        """Return the body.

        Raises:
            HTTPException: 413, it is too large; 400, the client left before its end.
        """
        if self._content is None:
            chunks = []
            size = 0
            try:
                async for chunk in self.stream():
                    size += len(chunk)
                    if size <= _MAX_BODY_BYTES:
                        chunks.append(chunk)
                    elif size > _MAX_DISCARDED_BYTES:
                        break
            except ClientDisconnect:  # nobody is there to read the answer, and nobody need be alarmed
                raise HTTPException(HTTPStatus.BAD_REQUEST, "the body broke off") from None
            if size > _MAX_BODY_BYTES:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is larger than 1 MiB")
            self._content = b"".join(chunks)
        return self._content

    async def json(self) -> Any:
        """Return what the body says.

        Raises:
            HTTPException: 400, it is not JSON.
        """
        said = await self._json()
        caller: Caller | None = getattr(self.state, "caller", None)
        if isinstance(said, dict) and caller is not None and caller.user is not None:
            said.setdefault("user_id", caller.user)
        return said

    async def _json(self) -> Any:
        try:
            return json.loads((await self.body()).decode("utf-8-sig"), parse_constant=_refuse_constant)
        except UnicodeDecodeError:
            detail = "the body is not UTF-8"
        except json.JSONDecodeError as error:
            detail = f"the body is not JSON: {error}"
        except RecursionError:
            detail = "the body is nested too deeply"
        except ValueError as error:  # a constant or a number that is none
            detail = f"the body is not JSON: {error}"
        raise HTTPException(HTTPStatus.BAD_REQUEST, detail)


def _check_query(request: Request, known: set[str]) -> None:
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            raise _refusal(("query", name), "is unknown")
        if times > 1:
            raise _refusal(("query", name), "is given more than once")


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == _JSON or (kind.startswith("application/") and kind.endswith("+json"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _refusal(location: tuple[str, str], detail: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": location, "msg": detail}])
