"""Routes that let nothing pass in silence: neither a mistyped query parameter nor a body that is not JSON."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from api.json_body import JsonRequest
from core.orchestrator.access.caller import Caller

_IDEMPOTENCY_KEY = "Idempotency-Key"
"""Ignoring it would break the promise that its sender relies on."""


class StrictRoute(APIRoute):
    """A route of `/api`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Check the query and the body before the route's own handler sees them."""
        handle = super().get_route_handler()
        known = names_of(self, params.Query)
        headers = names_of(self, params.Header)
        has_body = self.body_field is not None

        async def checked(request: Request) -> Response:
            _check_query(request, known)
            check_headers(request, headers)
            if not has_body:
                return await handle(request)
            if _IDEMPOTENCY_KEY in request.headers and _IDEMPOTENCY_KEY not in headers:
                raise _refusal(("header", _IDEMPOTENCY_KEY), "is not supported here")
            return await handle(await _NamedRequest.of(request))

        return checked


class _NamedRequest(JsonRequest):
    """A request whose user need not be named where the key settles that: it is read as if it had been."""

    async def json(self) -> Any:
        """Return what the body says.

        Raises:
            HTTPException: 400, it is not JSON.
        """
        said = await super().json()
        caller: Caller | None = getattr(self.state, "caller", None)
        if isinstance(said, dict) and caller is not None and caller.user is not None:
            said.setdefault("user_id", caller.user)
        return said


def names_of(route: APIRoute, kind: type[params.Param]) -> set[str]:
    """Return the names of the parameters of a kind that a route knows."""
    return {field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, kind)}


def check_headers(request: Request, names: set[str]) -> None:
    """Return if none of some headers is given more than once.

    Raises:
        RequestValidationError: one is.
    """
    for name in names:
        if len(request.headers.getlist(name)) > 1:
            raise _refusal(("header", name), "is given more than once")


def _check_query(request: Request, known: set[str]) -> None:
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            raise _refusal(("query", name), "is unknown")
        if times > 1:
            raise _refusal(("query", name), "is given more than once")


def _refusal(location: tuple[str, str], detail: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": location, "msg": detail}])
