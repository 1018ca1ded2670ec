"""How a reply reaches the client that asked for it: waited for, streamed, or left to be fetched."""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from api.dependencies import Asker, Service, made_here
from api.fields import IdempotencyHeader, OnDisconnect
from api.idempotency import fingerprint
from api.streaming import ReplyStreamResponse
from api.troubles import REPLAYED
from core.orchestrator.contracts import InteractionRequest, InteractionStatus, InteractionView, MultitaskStrategy
from core.orchestrator.interactions.opening import IdempotencyKey, Opened, Opening
from core.orchestrator.workflow_ids import workflow_id_of

_NOBODY_LISTENS = 499
"""The client has left; so proxies call it, too."""


class AcceptedInteraction(BaseModel):
    """A message that was accepted; the reply is found where `Location` says."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    interaction_id: str
    session_id: str | None
    """The conversation; null for a bare completion."""
    workflow_id: str
    status: InteractionStatus
    """`queued`, unless the request was sent before."""


class Wishes(Protocol):
    """How a client wants its reply."""

    stream: bool
    background: bool
    on_disconnect: OnDisconnect


class Delivery:
    """The way from one request to its reply."""

    def __init__(
        self,
        client: Request,
        response: Response,
        service: Service,
        asker: Asker,
        idempotency_key: IdempotencyHeader = None,
    ) -> None:
        """Deliver to `client`; where the reply is no response of its own, `response` tells of it in its headers."""
        self._client = client
        self._response = response
        self._service = service
        self._asker = asker
        self._key = idempotency_key

    def opening(
        self,
        wishes: Wishes,
        asked: Any,
        strategy: MultitaskStrategy = MultitaskStrategy.ENQUEUE,
    ) -> Opening:
        """Return how the interaction is to be opened, where `asked` is what the client sent."""
        route = self._client.url.path
        key = None if self._key is None else IdempotencyKey(self._key, fingerprint(route, asked))
        return Opening(
            watched=wishes.stream or wishes.background,
            key=key,
            strategy=strategy,
            key_name=self._asker.key_name,
            is_new=True,
        )

    async def reply(self, opened: Opened, wishes: Wishes) -> InteractionView | Response:
        """Return how the interaction ended once it has, or the response that its client wants instead."""
        headers = location_of(opened.request.interaction_id) | (REPLAYED if opened.replayed else {})
        if wishes.background:
            return JSONResponse(_accepted(opened).model_dump(mode="json"), HTTPStatus.ACCEPTED, headers)
        interaction_id = opened.request.interaction_id
        cancelling = wishes.on_disconnect is OnDisconnect.CANCEL
        if wishes.stream:
            on_departure = partial(self._service.cancel_for_absent, interaction_id) if cancelling else None
            return ReplyStreamResponse(await self._service.stream(interaction_id), headers, on_departure)
        self._response.headers.update(headers)
        if not cancelling:
            return await self._service.result(interaction_id)
        waiting = asyncio.create_task(self._service.result(interaction_id))
        departing = asyncio.create_task(self._departure())
        try:
            await asyncio.wait((waiting, departing), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
        finally:
            waiting.cancel()
            departing.cancel()
            await asyncio.gather(waiting, departing, return_exceptions=True)
        self._service.cancel_for_absent(interaction_id)  # its own wait is over: only those of others count
        return Response(status_code=_NOBODY_LISTENS)

    async def _departure(self) -> None:
        while (await self._client.receive())["type"] != "http.disconnect":
            pass


Delivered = Annotated[Delivery, Depends(made_here(Delivery))]


def location_of(interaction_id: str) -> dict[str, str]:
    """Return the headers that tell where an interaction is found."""
    return {"Location": f"/api/llm/interactions/{interaction_id}", "X-Interaction-Id": interaction_id}


def _accepted(opened: Opened) -> AcceptedInteraction:
    request = opened.request
    return AcceptedInteraction(
        interaction_id=request.interaction_id,
        session_id=request.session_id if isinstance(request, InteractionRequest) else None,
        workflow_id=workflow_id_of(request.interaction_id),
        status=opened.status,
    )
