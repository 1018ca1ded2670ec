"""OpenRouter's endpoints."""

import asyncio
import json
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aiohttp import web

from standin import catalogue, forms, reply, wire
from standin.answer import Answer
from standin.faults import FAULTS
from standin.ledger import Call, Ledger
from standin.pace import Pace
from standin.script import Script
from standin.transports import StreamedAnswer, WholeAnswer
from standin.wire import Json

_LIMITS = ("max_completion_tokens", "max_tokens")
_ERROR_TYPES = {400: "invalid_request", 401: "authentication", 404: "not_found"}
_REJECTIONS: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    401: web.HTTPUnauthorized,
    404: web.HTTPNotFound,
}


class OpenRouterApi:
    """What a client of OpenRouter talks to."""

    def __init__(self, ledger: Ledger, script: Script, pace: Pace) -> None:
        self._ledger = ledger
        self._script = script
        self._pace = pace

    def routes(self) -> list[web.RouteDef]:
        """The endpoints, below `/api/v1`."""
        return [
            web.post("/api/v1/chat/completions", self.chat),
            web.get("/api/v1/models", self.models),
            web.get("/api/v1/generation", self.generation),
            web.get("/api/v1/key", self.key),
        ]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat call, well or badly, and enter it into the ledger."""
        _require_key(request)
        body = await _read_chat(request)
        call = self._enter(request, body)
        answer = self._answer(request, call)
        behave = self._script.next_for(call.model)
        try:
            await behave(answer)
        except asyncio.CancelledError:
            answer.abandon()
            raise
        except ConnectionError:
            answer.abandon()
        finally:
            self._ledger.settle(call, answer.outcome)
        return answer.response

    async def models(self, _: web.Request) -> web.Response:
        """List the catalogue and the faults; no key is needed."""
        return web.json_response(catalogue.listing({name: fault.description for name, fault in FAULTS.items()}))

    async def generation(self, request: web.Request) -> web.Response:
        """Tell what became of a call; as at OpenRouter, that takes a moment to be known."""
        _require_key(request)
        generation_id = request.query.get("id", "")
        call = self._ledger.find(generation_id)
        if (
            call is None
            or call.finished_at is None
            or datetime.now(UTC) - call.finished_at < self._pace.generation_record
        ):
            raise _rejection(404, f"Generation {generation_id} not found")
        return web.json_response(wire.generation(call))

    async def key(self, request: web.Request) -> web.Response:
        """Describe the key: no limit, and what was spent so far."""
        _require_key(request)
        usage = float(self._ledger.total_cost)
        about = {"label": "stand-in", "usage": usage, "limit": None, "limit_remaining": None, "is_free_tier": False}
        return web.json_response({"data": about})

    def _enter(self, request: web.Request, body: Json) -> Call:
        parameters = dict(body)
        messages = parameters.pop("messages")
        return self._ledger.open(
            model=parameters.pop("model"),
            messages=messages,
            stream=bool(parameters.pop("stream", False)),
            parameters=parameters,
            headers={name.lower(): value for name, value in request.headers.items() if name.lower() != "authorization"},
            price=catalogue.price_of(body["model"]),
            prompt_tokens=reply.count_prompt_tokens(messages),
        )

    def _answer(self, request: web.Request, call: Call) -> Answer:
        words = reply.pieces(call.model, call.messages)
        form = forms.json_text(call.parameters.get("response_format"), "".join(words))
        pieces = words if form is None else reply.tokens(form)
        limit = next((call.parameters[name] for name in _LIMITS if call.parameters.get(name)), len(pieces))
        reason = "stop" if len(pieces) <= limit else "length"
        kind = StreamedAnswer if call.stream else WholeAnswer
        return kind(request, call, ledger=self._ledger, pace=self._pace, pieces=pieces[:limit], finish_reason=reason)


def _rejection(status: int, message: str) -> web.HTTPException:
    body = wire.error_body(status, message, error_type=_ERROR_TYPES[status])
    return _REJECTIONS[status](text=wire.dumps(body), content_type="application/json")


def _require_key(request: web.Request) -> None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _rejection(HTTPStatus.UNAUTHORIZED, "No auth credentials found")


async def _read_chat(request: web.Request) -> Json:
    try:
        body: Any = json.loads(await request.read())
    except ValueError:
        raise _rejection(HTTPStatus.BAD_REQUEST, "The body is not JSON") from None
    wrong = _what_is_wrong(body)
    if wrong:
        raise _rejection(HTTPStatus.BAD_REQUEST, wrong)
    return dict(body)


def _what_is_wrong(body: Any) -> str | None:
    if not isinstance(body, dict):
        return "The body is not an object"
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str) or not model:
        return "model must be a non-empty string"
    if not isinstance(messages, list) or not messages or not all(isinstance(it, dict) for it in messages):
        return "messages must be a non-empty list of objects"
    limits = (body[name] for name in _LIMITS if body.get(name) is not None)
    if not all(isinstance(limit, int) and limit > 0 for limit in limits):
        return f"{' and '.join(_LIMITS)} must be positive integers"
    return None
