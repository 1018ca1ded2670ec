"""A client of the service's HTTP API that loses no reply, whatever happens to the connection or to the service.

Every message is sent with an `Idempotency-Key` of its own, so that sending it again never asks twice: as long as the
interaction is not known, the client repeats its request, and then goes on with the interaction's stream where it broke
off. Together with `reply_reducer` it may serve as a start for a client of your own.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http import HTTPStatus
from typing import Any, Self
from uuid import uuid4

import httpx
from httpx_sse import EventSource, SSEError

from core.orchestrator.examples.reply_reducer import Reply

DEFAULT_URL = "http://127.0.0.1:8000"

# The service answers within its own deadline, after the turns before this one; a client need not be less patient.
_ANSWER = httpx.Timeout(10, read=900)
# A stream is kept alive with a comment every 15 seconds: one that is silent for longer has broken unnoticed.
_STREAM = httpx.Timeout(10, read=40)
_SHORTEST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 2.0
_HELD_SECONDS = 1.0
_NOT_NOW = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

Event = dict[str, Any]


class ClientError(Exception):
    """The service is not up, or refused the request; the message says so."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """Say what is wrong.

        Args:
            message: For people.
            status: The HTTP status, where the service answered.
        """
        super().__init__(message)
        self.status = status


class Client:
    """Talks to one service."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        patience_seconds: float = 60,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: The service.
            api_key: Sent with every request, where the service asks for keys.
            patience_seconds: How long a service that has answered before may be gone.
            notice: Called once with a line for people whenever the service is gone.

        Raises:
            ClientError: the URL is none, or the key.
        """
        key = (api_key or "").strip()
        if not (key.isascii() and (key + "x").isprintable()):
            raise ClientError("the API key holds characters that no key has")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(base_url=url, timeout=_ANSWER, headers=headers)
        except httpx.InvalidURL as error:
            raise ClientError(f"{url} is not an http:// or https:// address") from error
        self.url = url.rstrip("/")
        self._patience_seconds = patience_seconds
        self.notice = notice
        self._met = False
        """Whether the service was there before; if not, there may be none, and waiting for it helps nobody."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def interact(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send a message to a persona and return the service's answer.

        Raises:
            ClientError: the service is not up, or refused the request.
        """
        return self._send("/api/llm/interact", body)

    def direct(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send messages straight to a model and return the service's answer.

        Raises:
            ClientError: the service is not up, or refused the request.
        """
        return self._send("/api/llm/direct", body)

    def stream_interact(self, body: dict[str, Any], reply: Reply) -> Iterator[Event]:
        """Send a message to a persona; yield each event once, as it comes, after `reply` has taken it in.

        Raises:
            ClientError: the service is not up, or refused the request.
        """
        return self._events("/api/llm/interact", body, reply)

    def stream_direct(self, body: dict[str, Any], reply: Reply) -> Iterator[Event]:
        """Send messages straight to a model; otherwise the same as `stream_interact`.

        Raises:
            ClientError: the service is not up, or refused the request.
        """
        return self._events("/api/llm/direct", body, reply)

    def follow(self, reply: Reply) -> Iterator[Event]:
        """Yield the events of the interaction that `reply` names, after those it has taken in.

        Raises:
            ClientError: the service is not up, or knows no such interaction.
        """
        return self._events("", {}, reply)

    def cancel(self, interaction_id: str) -> dict[str, Any]:
        """Cancel an interaction and return where it stands; one that has ended stays as it is.

        Raises:
            ClientError: the service is not up, or knows no such interaction.
        """
        return self._answer("POST", f"/api/llm/interactions/{interaction_id}/cancel")

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Read a resource.

        Raises:
            ClientError: the service is not up, or has no such resource.
        """
        return self._answer("GET", path, params=parameters)

    def _send(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._answer("POST", path, json=body, headers={"Idempotency-Key": str(uuid4())})

    def _answer(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Send a request that may be repeated, and do so until it is answered."""
        patience = _Patience(self._patience_seconds, self.notice)
        while True:
            with self._insisting(patience):
                return self._checked(self._http.request(method, path, **request))

    def _events(self, path: str, body: dict[str, Any], reply: Reply) -> Iterator[Event]:
        key = str(uuid4())
        patience = _Patience(self._patience_seconds, self.notice)
        while reply.response is None:
            with self._insisting(patience), self._open(path, body, key, reply) as response:
                if response.status_code == HTTPStatus.NO_CONTENT:  # all events were seen before
                    return
                if not response.is_success:
                    response.read()
                    self._checked(response)
                self._met = True
                patience.answered()
                reply.interaction_id = reply.interaction_id or response.headers.get("X-Interaction-Id")
                for sse in EventSource(response).iter_sse():
                    patience.rewarded()
                    # A keep-alive reads as an event without data.
                    if sse.data and reply.add(event := json.loads(sse.data)):
                        yield event
                if reply.response is None:
                    raise httpx.RemoteProtocolError("the stream ended before the reply")

    def _open(self, path: str, body: dict[str, Any], key: str, reply: Reply) -> AbstractContextManager[httpx.Response]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if reply.interaction_id is None:
            headers["Idempotency-Key"] = key
            return self._http.stream("POST", path, json={**body, "stream": True}, headers=headers, timeout=_STREAM)
        headers["Last-Event-ID"] = str(reply.last_number)
        path = f"/api/llm/interactions/{reply.interaction_id}/stream"
        return self._http.stream("GET", path, headers=headers, timeout=_STREAM)

    @contextmanager
    def _insisting(self, patience: "_Patience") -> Iterator[None]:
        """End the block quietly, after a wait, if what stopped it may pass; otherwise say what is wrong."""
        began = time.monotonic()
        try:
            yield
        except _NotNowError as refusal:
            patience.wait(refusal.problem, refusal.seconds)
        except httpx.UnsupportedProtocol as error:
            raise ClientError(f"{self.url} is not an http:// or https:// address") from error
        except SSEError as error:
            raise ClientError(f"{self.url} answered, but not with a stream: is it another service?") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            problem = f"the service is not up at {self.url}"
            if not self._met:
                raise ClientError(f"{problem}; start it with 'make run', or name another --url") from error
            patience.wait(ClientError(problem))
        except httpx.TransportError as error:
            self._met = True  # there was a connection
            if not isinstance(error, httpx.TimeoutException) and time.monotonic() - began > _HELD_SECONDS:
                patience.rewarded()
            patience.wait(ClientError(f"the connection to {self.url} broke: {error or type(error).__name__}"))
        except httpx.HTTPError as error:
            raise ClientError(f"{self.url} did not answer: {error or type(error).__name__}") from error

    def _checked(self, response: httpx.Response) -> dict[str, Any]:
        """Return a response's JSON, if it is no refusal."""
        self._met = True
        status = response.status_code
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            problem = ClientError(f"{self.url} answered {status}, but not in JSON: is it another service?", status)
            if status not in _NOT_NOW:
                raise problem from error
            raise _NotNowError(problem, response) from error
        if response.is_success:
            return answer
        problem = ClientError(_problem(status, answer) + self._advice(status), status)
        if status not in _NOT_NOW or self._has_ended(answer.get("interaction_id")):
            raise problem
        raise _NotNowError(problem, response)

    def _advice(self, status: int) -> str:
        if status == HTTPStatus.UNAUTHORIZED:
            return "\n  name a key with --api-key or ORCHESTRATOR_API_KEY; `orchestrator keys create` makes one"
        if status == HTTPStatus.FORBIDDEN and "Authorization" in self._http.headers:
            return "\n  use a key that may do this, and, if it is bound to a user, no other user or session"
        return ""

    def _has_ended(self, interaction_id: str | None) -> bool:
        """Whether this is how the interaction ended; else the service has no room, or cannot tell, just now."""
        if interaction_id is None:
            return False
        with suppress(httpx.HTTPError, ValueError):
            found = self._http.get(f"/api/llm/interactions/{interaction_id}")
            return found.is_success and found.json()["status"] not in ("queued", "in_progress")
        return False


class _NotNowError(Exception):
    """The service is there, but something it needs is not, or it has no room."""

    def __init__(self, problem: ClientError, response: httpx.Response) -> None:
        super().__init__(str(problem))
        self.problem = problem
        asked_for = response.headers.get("Retry-After", "")
        self.seconds = float(asked_for) if asked_for.isdecimal() else 0.0


class _Patience:
    """How long to try again: until too much time has passed since the service was last heard of."""

    def __init__(self, seconds: float, notice: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._notice = notice
        self._told = False
        """That the service is back."""
        self.rewarded()

    def answered(self) -> None:
        """The service is back, though it may still have nothing to tell."""
        if self._until is not None and not self._told:
            self._told = True
            self._notice("connected again")

    def rewarded(self) -> None:
        """The service has been heard of."""
        self._told = False
        self._until: float | None = None
        self._next_wait = _SHORTEST_WAIT_SECONDS

    def wait(self, problem: ClientError, at_least: float = 0) -> None:
        """Wait before the next try.

        Raises:
            ClientError: `problem`, because it has lasted too long.
        """
        if self._until is None:
            self._until = time.monotonic() + self._seconds
            self._notice(f"{problem}; trying again")
        seconds = max(self._next_wait, at_least)
        if time.monotonic() + seconds > self._until:
            raise problem
        time.sleep(seconds)
        self._next_wait = min(2 * self._next_wait, _LONGEST_WAIT_SECONDS)


def _problem(status: int, answer: dict[str, Any]) -> str:
    lines = [f"{status} {answer.get('error_type', '')}: {answer.get('detail', answer)}"]
    lines += [f"  {wrong['path']}: {wrong['detail']}" for wrong in answer.get("errors", [])[1:]]
    if "interaction_id" in answer:
        lines.append(f"  interaction: {answer['interaction_id']}")
    return "\n".join(lines)
