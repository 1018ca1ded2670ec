"""What `POST /v1/responses` is asked with.

Clients send every field they know, so an unknown one is ignored. A known one that would change the answer, and cannot,
is refused: silence would be an answer to something else.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from api.fields import Identifier, LongText, MaxTokens, Temperature, storable_json
from api.v1.bodies import ConversationId, IdentifyingBody, LenientBody, unsupported
from api.v1.errors import wrong_parameter
from api.v1.response_parameters import parameters_of

Json = Annotated[dict[str, Any], BeforeValidator(storable_json)]
Label = Annotated[str, Field(max_length=128), BeforeValidator(storable_json)]
MaybeText = Annotated[str | None, BeforeValidator(storable_json), AfterValidator(lambda text: text or None)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
    BeforeValidator(storable_json),
]


class TextWishes(LenientBody):
    """What the text of a response is to be like."""

    format: Json | None = None
    """`text`, `json_object`, or `json_schema` with its `name` and `schema`."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """How much is said."""


class ReasoningWishes(LenientBody):
    """How much a model is to think."""

    effort: Label | None = None
    """Such as `low`; what a model knows of it is its own matter."""


class ResponseBody(IdentifyingBody):
    """A request of OpenAI's Responses API."""

    input: Annotated[
        Annotated[LongText, Tag("<text>")] | Annotated[list[Json], Field(min_length=1), Tag("<array>")],
        Discriminator(lambda said: "<array>" if isinstance(said, list) else "<text>"),
    ]
    """What is said: a text, or items such as messages and the results of tools."""
    instructions: MaybeText = None
    """Added to the persona's own, for this response alone."""
    previous_response_id: Identifier | None = None
    """The response that the input follows; not together with `conversation`."""
    background: bool | None = None
    """True: answered at once, as `queued`; the response is found under its id."""
    stream: bool | None = None
    """True: the response is a stream of server-sent events."""
    store: bool | None = None
    """Of no effect: every response is kept."""
    max_output_tokens: MaxTokens | None = None
    """The longest reply, in tokens."""
    temperature: Temperature | None = None
    """Sampling temperature; absent: the agent's, else the persona's."""
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    """Nucleus sampling."""
    text: TextWishes | None = None
    """What the text is to be like."""
    tools: list[Json] | None = None
    """Functions of the client that the model may call; there are no hosted tools."""
    tool_choice: (
        Annotated[
            Annotated[Literal["none", "auto", "required"], Tag("<text>")] | Annotated[Json, Tag("<object>")],
            Discriminator(lambda chosen: "<object>" if isinstance(chosen, dict) else "<text>"),
        ]
        | None
    ) = None
    """Whether the model may, must or must not call a function, or which one."""
    parallel_tool_calls: bool | None = None
    """Whether several functions may be called at once."""
    reasoning: ReasoningWishes | None = None
    """How much the model is to think; what it thought is not told."""
    metadata: Metadata | None = None
    """Found in the response again; `conversation_id` in it is the conversation, where nothing else says it."""
    truncation: Literal["auto", "disabled"] | None = None
    """Of no effect: how much of a conversation is remembered is the service's matter."""
    include: list[Label] | None = None
    """Of no effect; log probabilities are refused."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """Must be 0."""
    service_tier: Label | None = None
    """Of no effect."""
    prompt_cache_key: Label | None = None
    """Of no effect."""
    prompt: Annotated[None, unsupported("there are no templates but the personas")] = None
    """Must be absent."""
    audio: Annotated[None, unsupported("replies are text")] = None
    """Must be absent."""

    @property
    def conversation_id(self) -> str | None:
        """The conversation that the body names as such."""
        return self.conversation.id if isinstance(self.conversation, ConversationId) else self.conversation

    @property
    def wants_text(self) -> bool:
        """Whether a reply of any form will do."""
        return self.text is None or self.text.format is None or self.text.format.get("type") == "text"

    def parameters(self) -> dict[str, Any]:
        """Return how the model is to answer, by the names of the chat API.

        Raises:
            RequestValidationError: something is asked for that nobody can do.
        """
        if self.top_logprobs:
            raise wrong_parameter("top_logprobs", "is not supported: nobody tells them", "unsupported_parameter")
        for number, wish in enumerate(self.include or ()):
            if "logprobs" in wish:
                raise wrong_parameter(("include", number), "is not supported: nobody tells them", "unsupported_value")
        if self.conversation is not None and self.previous_response_id is not None:
            raise wrong_parameter("previous_response_id", "cannot be combined with `conversation`")
        return parameters_of(
            tools=self.tools or [],
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            text_format=self.text.format if self.text else None,
            top_p=self.top_p,
            verbosity=self.text.verbosity if self.text else None,
            reasoning_effort=self.reasoning.effort if self.reasoning else None,
        )

    @property
    def echo(self) -> dict[str, Any]:
        """What the client wants to find in the response again."""
        told = self.model_dump(exclude=_NOT_ECHOED, exclude_none=True)
        return told | ({"conversation": self.conversation_id} if self.conversation_id else {})


_NOT_ECHOED = {"input", "stream", "include", "conversation", "prompt", "audio"}
