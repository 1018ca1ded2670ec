"""Who asks, in which conversation, and whether for the second time: what clients say in headers and bodies."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from api.dependencies import Asker, made_here
from api.fields import IdempotencyHeader, Identifier
from api.v1.bodies import ConversationId, IdentifyingBody, MaybeIdentifier

ANYBODY = "anonymous"
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and where."""

    user_id: str
    key_name: str | None
    """Of the API key; None where keys are not asked for."""
    conversation_id: str | None
    """None: nothing is remembered."""
    resends: bool | None
    """Whether the client always sends the whole conversation; None: nobody knows yet."""
    is_retry: bool
    """The client says that it has sent the same before."""
    is_task: bool
    """The client asks for itself, such as for a title: no turn of the conversation."""
    idempotency_key: str | None


class Sender:
    """Who sends a request, as far as its key and its headers say."""

    def __init__(
        self,
        asker: Asker,
        *,
        conversation_id: Annotated[
            MaybeIdentifier, Header(alias="X-Conversation-Id", description="The conversation; absent: see the body.")
        ] = None,
        chat_id: Annotated[
            MaybeIdentifier, Header(alias="X-OpenWebUI-Chat-Id", description="The conversation, as Open WebUI says it.")
        ] = None,
        forwarded_user: Annotated[
            MaybeIdentifier,
            Header(alias="X-OpenWebUI-User-Id", description="For whom it is sent, unless the key settles that."),
        ] = None,
        task: Annotated[
            str | None,
            Header(alias="X-Task", description="The client asks for itself, such as for a title: this is no turn."),
        ] = None,
        webui_task: Annotated[
            str | None,
            Header(alias="X-OpenWebUI-Task", description="The same, by the name that Open WebUI recommends."),
        ] = None,
        retries: Annotated[
            str | None,
            Header(alias="x-stainless-retry-count", description="How often the client has sent the same before."),
        ] = None,
        idempotency_key: IdempotencyHeader = None,
    ) -> None:
        """Take what stands in the headers."""
        self._asker = asker
        self._conversation_id = conversation_id
        self._chat_id = chat_id
        self._forwarded_user = forwarded_user
        self._is_task = bool(task or webui_task)
        self._is_retry = _is_positive(retries)
        self._idempotency_key = idempotency_key

    @property
    def user(self) -> str | None:
        """The user whose things the sender sees; None: everybody's."""
        return self._asker.user

    def identify(self, body: IdentifyingBody) -> Identity:
        """Return who asks what stands in `body`.

        Raises:
            RequestValidationError: the body names a conversation that cannot be one.
        """
        return Identity(
            # Whose key it is is known; what a client forwards may be anybody's word.
            user_id=self._asker.user or self._forwarded_user or body.safety_identifier or body.user or ANYBODY,
            key_name=self._asker.key_name,
            conversation_id=self._conversation_id or self._chat_id or _conversation_of(body),
            resends=True if self._chat_id else None,
            is_retry=self._is_retry,
            is_task=self._is_task,
            idempotency_key=self._idempotency_key,
        )


def _conversation_of(body: IdentifyingBody) -> str | None:
    if body.conversation is not None:
        return body.conversation.id if isinstance(body.conversation, ConversationId) else body.conversation
    named: Any = (body.metadata or {}).get("conversation_id")
    if named in (None, ""):
        return None
    try:
        return _IDENTIFIER.validate_python(named, strict=True)
    except ValidationError as error:
        wrong: Any = {**error.errors()[0], "loc": ("body", "metadata", "conversation_id")}
        raise RequestValidationError([wrong]) from None


def _is_positive(count: str | None) -> bool:
    """Read what only a client's own library writes; anything else says nothing."""
    return count is not None and count.isascii() and count.isdecimal() and count.strip("0") != ""


SentBy = Annotated[Sender, Depends(made_here(Sender))]
