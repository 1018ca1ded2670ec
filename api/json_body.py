"""Bodies of requests: at most 1 MiB of JSON in UTF-8, or 400, 413 or 415 before anything is done.

What a body may hold is the matter of its model.
"""

import json
from http import HTTPStatus
from typing import Any, NoReturn, Self

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

_JSON = "application/json"
_MAX_BODY_BYTES = 1024 * 1024
_MAX_DISCARDED_BYTES = 16 * _MAX_BODY_BYTES
"""So much is read of a body that is too large: a client that is still sending when we close may miss the answer."""


class JsonRequest(Request):
    """A request whose body is JSON."""

    _content: bytes | None = None

    @classmethod
    async def of(cls, request: Request) -> Self:
        """Return the request once its body was read.

        Raises:
            HTTPException: 413, it is too large; 415, it says that it is no JSON; 400, it is empty, or broke off.
        """
        if not _is_json(request):
            raise HTTPException(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json", {"Accept": _JSON}
            )
        body = cls(request.scope, request.receive)
        if not await body.body():
            raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is empty")
        return body

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


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == _JSON or (kind.startswith("application/") and kind.endswith("+json"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
