"""Who talks with whom: what a message of the chat is sent with, and what the service knows of both sides."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from core.orchestrator.examples.service_client import Client, ClientError

_PAGE = 200


def new_session_id() -> str:
    """Return an id that no session has."""
    return f"chat-{uuid4().hex[:16]}"


class UnknownPersonaError(Exception):
    """Nobody has that id; the message says who there is."""


@dataclass
class Conversation:
    """A user, a persona and their session."""

    client: Client
    user_id: str | None
    """None: the one of the client's key."""
    session_id: str
    persona: dict[str, Any]
    model: str | None
    """None: the persona's own, or the service's."""

    def body(self, message: str) -> dict[str, Any]:
        """Return the request that says `message`."""
        body = {
            "message": message,
            "user_id": self.user_id,
            "session_id": self.session_id,
            "persona_id": self.persona["id"],
            "model": self.model,
        }
        return {name: value for name, value in body.items() if value is not None}

    def check(self) -> None:
        """Return if the session is ours, or nobody's yet.

        Raises:
            ClientError: the service does not answer, or the session is somebody else's.
        """
        self._page(limit=1)

    def messages(self) -> list[dict[str, Any]]:
        """Return all that was said in the session, oldest first.

        Raises:
            ClientError: the service does not answer, or the session is somebody else's.
        """
        messages: list[dict[str, Any]] = []
        cursor: str | None = "0"
        while cursor is not None:
            page = self._page(_PAGE, cursor)
            messages += page["items"]
            cursor = page["next_cursor"]
        return messages

    def _page(self, limit: int, cursor: str = "0") -> dict[str, Any]:
        path = f"/api/sessions/{quote(self.session_id, safe='')}/messages"
        try:
            who = {} if self.user_id is None else {"user_id": self.user_id}
            return self.client.get(path, **who, limit=str(limit), cursor=cursor)
        except ClientError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return {"items": [], "next_cursor": None}  # a session begins with its first message


def personas(client: Client) -> list[dict[str, Any]]:
    """Return the personas of the service.

    Raises:
        ClientError: the service does not answer.
    """
    items: list[dict[str, Any]] = client.get("/api/personas")["items"]
    return items


def find_persona(client: Client, persona_id: str) -> dict[str, Any]:
    """Return the persona with an id.

    Raises:
        UnknownPersonaError: there is none.
        ClientError: the service does not answer.
    """
    known = personas(client)
    for persona in known:
        if persona["id"] == persona_id.lower():
            return persona
    raise UnknownPersonaError(
        f"there is no persona '{persona_id}'; there are {', '.join(persona['id'] for persona in known)}"
    )
