"""The provider port: what the orchestration asks of anything that can complete a chat.

One abstract method is all a provider needs. A provider that can stream overrides `stream_chat_completion` too; the
rest of the system only ever calls that one, so a provider that cannot stream shows its reply in one piece.
A provider makes ONE upstream call per invocation and never retries: Temporal owns every wait.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from core.orchestrator.contracts import Message, ModelInfo, ToolCall, Usage
from core.orchestrator.errors import ErrorType, LLMProviderServiceError
from core.orchestrator.providers.tool_calls import sound_tool_calls
from core.orchestrator.providers.untrusted import as_text, one_line

LABEL_CHARACTERS = 200
"""A label of an upstream ends up in columns and search attributes; a longer one says no more."""


_MAX_TOKENS = 2**31
_MOST_DOLLARS = 1_000_000
"""No call costs so much, and a sum of a few absurd ones would be infinite."""


def _sound(text: object) -> object:
    if text is None:  # as OpenAI writes an answer of tool calls alone
        return ""
    return as_text(text) if isinstance(text, str) else text


def _short(text: object) -> object:
    return one_line(text, LABEL_CHARACTERS) if isinstance(text, str) else text


def _plausible(usage: Usage | None) -> Usage | None:
    """Take a number that cannot be one of tokens or dollars for one that was not told."""
    if usage is None:
        return None
    told = usage.model_dump()
    cost = told.pop("cost_usd")
    told.pop("estimated_cost_usd")  # ours to make
    tokens = {name: count if count is not None and 0 <= count < _MAX_TOKENS else None for name, count in told.items()}
    return Usage(**tokens, cost_usd=cost if cost is not None and 0 <= cost < _MOST_DOLLARS else None)


Label = Annotated[str, BeforeValidator(_short)]


class ChatCompletion(BaseModel):
    """One whole answer of a model. Whatever a provider puts in, what is read here can be stored and sent on."""

    model_config = ConfigDict(extra="ignore")

    content: Annotated[str, BeforeValidator(_sound)]
    model: Label | None = None
    """The model that answered, which may differ from the one that was asked."""
    upstream_provider: Label | None = None
    """Who served it, as the provider names it (OpenRouter: `provider`)."""
    finish_reason: Label | None = None
    """`stop`, `length`, `tool_calls` or `content_filter`; a refusal is an answer (`content_filter`)."""
    usage: Annotated[Usage | None, AfterValidator(_plausible)] = None
    """None where the provider did not say: unknown, never 0."""
    generation_id: Label | None = None
    tool_calls: Annotated[list[ToolCall] | None, BeforeValidator(sound_tool_calls)] = None
    """The tools that the model wants called, of those that the parameter `tools` offered; None where there are none."""

    @classmethod
    def of(cls, value: "ChatCompletion | Mapping[str, Any] | str | None") -> "ChatCompletion":
        """Read what a provider's `generate_chat_completion` may return.

        Args:
            value: a `ChatCompletion`, a mapping with at least `content`, or the text alone.

        Raises:
            LLMProviderServiceError: (`empty`) nothing came back, (`malformed`) it has none of these forms.
        """
        match value:
            case ChatCompletion():
                return value
            case str():
                return cls(content=value)
            case None:
                raise LLMProviderServiceError("the provider returned nothing", error_type=ErrorType.EMPTY)
            case Mapping():
                try:
                    return cls.model_validate(value)
                except ValidationError as error:
                    raise _malformed(f"{error.error_count()} wrong fields") from error
            case _:
                raise _malformed(f"got {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class CallAccepted:
    """The upstream took a call: from here on it may bill it, under this id."""

    generation_id: str


def _malformed(why: str) -> LLMProviderServiceError:
    return LLMProviderServiceError(f"the provider returned no chat completion: {why}", error_type=ErrorType.MALFORMED)


class LLMProvider(ABC):
    """A service that completes chats. Instances live as long as the process and are used concurrently."""

    keeps_records: ClassVar[bool] = False
    """Whether `find_usage` can tell what a call cost that ended without saying so."""
    takes_parameters: ClassVar[bool] = False
    """Whether both methods take `parameters`; else nobody passes any, and a call that needs them goes elsewhere."""

    @property
    @abstractmethod
    def provider_name(self) -> str:
        """The name that stands before the colon in `provider:model`."""

    @abstractmethod
    async def generate_chat_completion(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
    ) -> ChatCompletion | Mapping[str, Any] | str:
        """Complete a chat in one call.

        Args:
            messages: each with `role` and `content` (a string, or OpenAI-style parts).
            model: the name after the colon; None means the provider's own default.
            temperature: 0 to 2.
            max_tokens: the longest answer wanted, in tokens; None leaves it to the model.
            parameters: how else to answer, by the names of OpenAI's chat API (`top_p`, `tools`, …). Passed only where
                there are any, and only if `takes_parameters`: a provider without it need not know the argument.

        Returns:
            A `ChatCompletion`, a mapping with at least `content`, or the text alone.

        Raises:
            LLMProviderError: the call failed; its `posture` says who should be tried next.
        """

    async def stream_chat_completion(
        self,
        messages: Sequence[Message],
        model: str | None = None,
        temperature: float = 0.7,
        max_tokens: int | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[str | CallAccepted | ChatCompletion, None]:
        """Complete a chat piece by piece: any number of pieces of text, then exactly one `ChatCompletion`.

        The pieces, joined, are the content of the completion. A provider that knows under which id the upstream
        keeps the call says so as soon as it does, with a `CallAccepted`. By default the whole completion comes as one
        piece. Closing the generator abandons the upstream call. Tool calls come with the completion alone.
        """
        more = {"parameters": parameters} if parameters else {}
        answer = await self.generate_chat_completion(messages, model, temperature, max_tokens, **more)
        completion = ChatCompletion.of(answer)
        if completion.content:
            yield completion.content
        yield completion

    async def find_usage(self, generation_id: str) -> Usage | None:  # noqa: ARG002 - for those who keep records
        """Return what an earlier call used in the end; None while the provider does not know (yet).

        Raises:
            LLMProviderError: the provider could not be asked.
        """
        return None

    async def list_models(self) -> Sequence[ModelInfo]:
        """Return the models on offer; empty where the provider has no list.

        Raises:
            LLMProviderError: the provider could not be asked.
        """
        return ()

    @property
    def models_source(self) -> str:
        """Where `list_models` looks, such as an address: what another source listed is not taken for its answer."""
        return ""

    async def aclose(self) -> None:  # noqa: B027 - optional for implementers
        """Release connections. Called once, when the process stops."""
