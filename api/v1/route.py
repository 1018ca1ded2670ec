"""Routes for clients that nobody can change: what they say beyond what is known here is ignored.

What is known is checked as everywhere: bodies of at most 1 MiB of JSON, and no header that decides something twice.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response, params
from fastapi.routing import APIRoute

from api.json_body import JsonRequest
from api.strict_route import check_headers, names_of


class LenientRoute(APIRoute):
    """A route of `/v1`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Read the body before the route's own handler sees it."""
        handle = super().get_route_handler()
        headers = names_of(self, params.Header)
        has_body = self.body_field is not None

        async def checked(request: Request) -> Response:
            check_headers(request, headers)
            return await handle(await JsonRequest.of(request) if has_body else request)

        return checked
