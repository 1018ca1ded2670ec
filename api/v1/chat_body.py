"""What `POST /v1/chat/completions` is asked with."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag

from api.fields import CallId, ContentPart, Identifier, MaxTokens, Temperature, storable_json
from api.v1.bodies import EMPTY, IdentifyingBody, LenientBody, says_nothing, unsupported
from api.v1.errors import wrong_parameter
from api.v1.parameters import JsonObject, Parameters
from core.orchestrator.contracts import Message
from core.orchestrator.interactions.said import Said
from core.orchestrator.providers.tool_calls import MOST_CALLS

_INSTRUCTING = ("system", "developer")
_FROM_OUTSIDE = ("user", "tool")
_STORABLE = BeforeValidator(storable_json)
_Text = Annotated[str, _STORABLE]
_Content = Annotated[
    Annotated[_Text, Tag("<text>")] | Annotated[list[ContentPart], Field(min_length=1), Tag("<parts>")],
    Discriminator(lambda content: "<parts>" if isinstance(content, list) else "<text>"),
]


class CalledFunction(LenientBody):
    """A function of the client's that the assistant called."""

    model_config = ConfigDict(extra="allow")

    name: Identifier
    """What it was offered as."""
    arguments: str
    """As the model wrote them; they need not be JSON."""


class CalledTool(LenientBody):
    """Something of the client's that the assistant called; further fields are the model's business."""

    model_config = ConfigDict(extra="allow")

    id: CallId
    """What its result is told by."""
    type: Literal["function"] = "function"
    """Always `function`."""
    function: CalledFunction
    """Which one, and with what."""


_Calls = Annotated[list[Annotated[CalledTool, _STORABLE]], Field(min_length=1, max_length=MOST_CALLS)]


class ChatTurn(LenientBody):
    """One message of a chat. What else clients keep in one is not the model's business."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """Who speaks."""
    content: _Content | None = None
    """A text, or OpenAI-style parts; only a message of the assistant can do without."""
    name: Identifier | None = None
    """Tells speakers of the same role apart."""
    tool_calls: _Calls | None = None
    """What the assistant asked the client to do."""
    tool_call_id: CallId | None = None
    """Which of it this is the result of."""
    reasoning_details: list[JsonObject] | None = None
    """What the model wants to find again of its reasoning, as OpenRouter writes it."""

    def as_sent(self) -> Message:
        """Return the message without what it does not hold; a null inside a part may mean something to the model."""
        empty = {name for name in type(self).model_fields if getattr(self, name) is None}
        message = self.model_dump(exclude=empty)
        return message if self.content is not None else message | {"content": None if self.tool_calls else ""}


class StreamOptions(LenientBody):
    """What a stream tells beside the reply."""

    include_usage: bool | None = None
    """Whether a last chunk tells the tokens."""


class ChatBody(Parameters, IdentifyingBody):
    """Messages to a persona, with how it is to answer."""

    messages: Annotated[list[ChatTurn], Field(min_length=1)]
    """The chat so far, oldest first: all of it, or in a conversation only what is new."""
    temperature: Temperature | None = None
    """Sampling temperature; absent: the agent's, else the persona's, else 0.7."""
    max_tokens: MaxTokens | None = None
    """The longest reply, in tokens."""
    max_completion_tokens: MaxTokens | None = None
    """The same, by its newer name, which counts before the older one."""
    stream: bool | None = None
    """True: the reply is a stream of chunks."""
    stream_options: StreamOptions | None = None
    """What the stream tells beside the reply."""
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    """How many replies: one."""
    logprobs: bool | None = None
    """Must not be true: nobody tells how likely the tokens were."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """Must be 0."""
    modalities: list[Identifier] | None = None
    """Must be `["text"]`."""
    audio: Annotated[None, unsupported("replies are text")] = None
    """Not supported: replies are text."""
    prediction: Annotated[None, unsupported("no model here takes one")] = None
    """Not supported."""
    web_search_options: Annotated[None, unsupported("pick a model that searches, or a plugin")] = None
    """Not supported: pick a model that searches, or a plugin."""
    functions: Annotated[None, unsupported("use `tools`")] = None
    """Not supported: use `tools`."""
    function_call: Annotated[None, unsupported("use `tool_choice`")] = None
    """Not supported: use `tool_choice`."""
    models: Annotated[None, unsupported("use `persona@model`; what is asked after it is the persona's matter")] = None
    """Not supported: use `persona@model`."""

    @property
    def said(self) -> Said:
        """What is said, and how it is to be answered.

        Raises:
            RequestValidationError: there is nothing to answer, or something is wanted that cannot be.
        """
        self._check_messages()
        self._check_wishes()
        sent = [turn.as_sent() for turn in self.messages]
        return Said(
            messages=[message for message in sent if message["role"] not in _INSTRUCTING],
            instructions=[message for message in sent if message["role"] in _INSTRUCTING],
            parameters=self.parameters(),
        )

    @property
    def length(self) -> int | None:
        """The longest reply, in tokens."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def tells_usage(self) -> bool:
        """Whether a stream is to tell the tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def _check_messages(self) -> None:
        for place, turn in enumerate(self.messages):
            if turn.role != "assistant" and turn.content is None:
                raise wrong_parameter(("messages", place, "content"), "is required", "missing_required_parameter")
            if turn.role == "tool" and turn.tool_call_id is None:
                raise wrong_parameter(("messages", place, "tool_call_id"), "is required", "missing_required_parameter")
        spoken = _last_spoken(self.messages)
        if spoken is None or self.messages[spoken].role not in _FROM_OUTSIDE:
            raise wrong_parameter("messages", "the last one must be the user's, or the result of a tool")
        if self.messages[spoken].role == "user" and says_nothing(self.messages[spoken].as_sent()):
            raise wrong_parameter(("messages", spoken, "content"), EMPTY)

    def _check_wishes(self) -> None:
        if self.n not in (None, 1):
            raise wrong_parameter("n", "must be 1: each request gets one reply", "unsupported_value")
        if self.logprobs:
            raise wrong_parameter("logprobs", "is not supported: nobody tells them", "unsupported_parameter")
        if self.top_logprobs:
            raise wrong_parameter("top_logprobs", "is not supported: nobody tells them", "unsupported_parameter")
        if self.modalities not in (None, ["text"]):
            raise wrong_parameter("modalities", 'must be ["text"]', "unsupported_value")


def _last_spoken(messages: Sequence[ChatTurn]) -> int | None:
    """Return the place of the last message that is no instruction."""
    places: list[Any] = [place for place, turn in enumerate(messages) if turn.role not in _INSTRUCTING]
    return places[-1] if places else None
