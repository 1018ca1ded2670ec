"""How a model is to answer, by the names of OpenAI's chat API and of OpenRouter: what is passed on as it was sent."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from api.fields import Identifier, storable_json
from api.v1.bodies import LenientBody

_MOST_STOPS = 4
_STORABLE = BeforeValidator(storable_json)
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
JsonObject = Annotated[dict[str, Any], _STORABLE]
_Text = Annotated[str, _STORABLE]
_Stop = Annotated[
    Annotated[_Text, Tag("<text>")] | Annotated[list[_Text], Field(max_length=_MOST_STOPS), Tag("<array>")],
    Discriminator(lambda stop: "<array>" if isinstance(stop, list) else "<text>"),
]


def _function_alone(value: Any) -> Any:
    if value != "function":
        raise PydanticCustomError("unsupported_value", "must be `function`: no other tools are known here")
    return value


def _is_function(value: Any) -> Any:
    if isinstance(value, dict):
        _function_alone(value.get("type", "function"))
    return value


class FunctionDefinition(LenientBody):
    """A function of the client's; what it takes is between the client and the model."""

    model_config = ConfigDict(extra="allow")

    name: Identifier
    """What the model calls it by."""


class Tool(LenientBody):
    """Something of the client's that the model may ask for."""

    type: Literal["function"] = "function"
    """Always `function`."""
    function: Annotated[FunctionDefinition, _STORABLE]
    """Which one."""


class NamedFunction(LenientBody):
    """A function, by its name."""

    name: Identifier
    """What it was offered as."""


class ChosenTool(LenientBody):
    """The tool that the model must ask for."""

    type: Annotated[Literal["function"], BeforeValidator(_function_alone)]
    """Always `function`."""
    function: NamedFunction
    """Which one."""


_ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<text>")] | Annotated[ChosenTool, Tag("<object>")],
    Discriminator(lambda choice: "<object>" if isinstance(choice, dict | ChosenTool) else "<text>"),
]


class ResponseFormat(LenientBody):
    """The form of a reply."""

    model_config = ConfigDict(extra="allow")

    type: Identifier
    """`text`, `json_object` or `json_schema`."""


class Parameters(LenientBody):
    """What a model is told beside the messages. Absent: it is not told."""

    top_p: Share | None = None
    """Only the likeliest tokens that make up this share."""
    stop: _Stop | None = None
    """Texts before which the reply ends; four at most."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    """For replies that can be repeated, as far as the model goes."""
    frequency_penalty: Penalty | None = None
    """How much a token is avoided for each time that it came."""
    presence_penalty: Penalty | None = None
    """How much a token is avoided once it came."""
    logit_bias: Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], _STORABLE] | None = None
    """How much tokens are wanted, by their ids."""
    response_format: Annotated[ResponseFormat, _STORABLE] | None = None
    """The form of the reply; one that is asked for is kept as the model wrote it."""
    tools: list[Annotated[Tool, BeforeValidator(_is_function)]] | None = None
    """What the model may ask the client to do."""
    tool_choice: _ToolChoice | None = None
    """Whether it may, or must."""
    parallel_tool_calls: bool | None = None
    """Whether it may ask for several at once."""
    reasoning_effort: Identifier | None = None
    """Such as `low` or `high`."""
    verbosity: Identifier | None = None
    """Such as `low` or `high`."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Only so many of the likeliest tokens."""
    min_p: Share | None = None
    """Only tokens this likely, compared with the likeliest."""
    top_a: Share | None = None
    """Only tokens likely enough, compared with the square of the likeliest."""
    repetition_penalty: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    """How much what the prompt holds is avoided."""
    reasoning: JsonObject | None = None
    """How much reasoning, and whether it is shown, as OpenRouter takes it."""
    provider: JsonObject | None = None
    """Which upstream providers may serve it, as OpenRouter takes it."""
    plugins: list[JsonObject] | None = None
    """As OpenRouter takes them."""

    def parameters(self) -> dict[str, Any]:
        """Return those that were sent."""
        names = Parameters.model_fields.keys()
        return self.model_dump(include=set(names), exclude_none=True)

    @property
    def wants_a_form(self) -> bool:
        """Whether the reply is to have a form that nothing may change."""
        return self.response_format is not None and self.response_format.type != "text"
