"""A persona: who speaks, how, and what is said when no model answers.

`system_prompt` is declared last on purpose: fields are validated in order, so its validator sees all the others and
can try the template before anybody talks to the persona.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from core.orchestrator.errors import PromptError
from core.orchestrator.personas.template import check_syntax, render

DEFAULT_SYSTEM_PROMPT = """\
You are {{ name }}, {{ description }}
{% if background %}

Background: {{ background }}
{% endif %}
{% if interaction_style %}

How you talk: {{ interaction_style }}
{% endif %}
{% if traits %}

Your traits, from 0 (not at all) to 100 (through and through):
{% for trait, strength in traits | items %}
- {{ trait }}: {{ strength }}
{% endfor %}
{% endif %}
{% if style_rules %}

Always:
{% for rule in style_rules %}
- {{ rule }}
{% endfor %}
{% endif %}
"""

TEMPLATE_FIELDS = (
    "id",
    "name",
    "description",
    "background",
    "interaction_style",
    "traits",
    "style_rules",
    "greeting",
)
"""The fields a system prompt may use, besides `user_id` and `context`."""

_ADDED_LATER = ("after_output",)
"""Fields younger than the first version of a persona: where they are not used, they leave its hash as it was."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text with something in it."""
ModelName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Strength = Annotated[int, Field(ge=0, le=100)]


class ReplyStyle(BaseModel):
    """What is done to a model's reply before anybody sees it. Code in a reply is never touched."""

    # Strict: YAML gives real types, so "80" and `yes` for a number are slips worth reporting.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    emoji: Literal["keep", "remove"] = "keep"
    """Whether emoji stay."""
    strip_markdown: bool = False
    """Turn headings, quotes, emphasis, rules and links into plain text; lists stay as they are."""
    sign_off: Text | None = None
    """Closes every reply, in a paragraph of its own."""


class PersonaConfig(BaseModel):
    """One persona, as its file says it. Two personas are equal when their content is."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    """What a client sends as `persona_id`."""
    name: Text
    """What the persona is called, and calls itself."""
    description: Text
    """One sentence that completes "You are NAME, …"; also shown in lists."""
    background: str = ""
    """Where the persona comes from: history, knowledge, surroundings."""
    interaction_style: str = ""
    """How the persona talks to people."""
    traits: dict[Text, Strength] = Field(default_factory=dict)
    """Traits by name, from 0 (not at all) to 100 (through and through)."""
    style_rules: list[Text] = Field(default_factory=list)
    """Rules every reply follows, one sentence each."""
    greeting: str = ""
    """A first line that a client may show before anything was said."""
    model: ModelName | None = None
    """The model asked first; None: `DEFAULT_LLM_MODEL`."""
    fallback_models: Annotated[list[ModelName], Field(max_length=8)] | None = None
    """Models asked next, in order; None: `LLM_FALLBACK_MODELS`, empty: none."""
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    """Sampling temperature, 0 to 2; None: the model's own default."""
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    """The longest reply, in tokens; None: the model's own limit."""
    after_output: Literal["restart", "incomplete", "continue"] | None = None
    """What follows when a call breaks after text was shown; None: `restart`."""
    fallback_line: Text
    """What the persona says when no model answers. It is part of no later prompt."""
    formatter: Text | None = None
    """Name of the registered `ConversationFormatter` to use; None: the agent's."""
    reply: ReplyStyle = ReplyStyle()
    """What is done to a model's reply before anybody sees it."""
    system_prompt: Text = DEFAULT_SYSTEM_PROMPT
    """Jinja2 template of the system message, over `TEMPLATE_FIELDS`, `user_id` and the request's `context`."""

    _user_id: str = PrivateAttr(default="")
    _context: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("system_prompt")
    @classmethod
    def _renders(cls, template: str, info: ValidationInfo) -> str:
        try:
            check_syntax(template)
            # With a broken field a trial would only report that field a second time.
            if all(field in info.data for field in TEMPLATE_FIELDS):
                render(template, _template_fields(info.data), user_id="", context={})
        except PromptError as error:
            raise ValueError(str(error)) from error
        return template

    @property
    def version(self) -> str:
        """The first 12 hexadecimal digits of the hash of the content."""
        unused = {field for field in _ADDED_LATER if getattr(self, field) is None}
        content = json.dumps(self.model_dump(mode="json", exclude=unused), sort_keys=True, separators=(",", ":"))
        return sha256(content.encode()).hexdigest()[:12]

    def for_turn(self, user_id: str, context: Mapping[str, Any]) -> Self:
        """Return a copy that renders its prompt for one turn; content, version and equality stay the same."""
        turn = self.model_copy()
        turn._user_id = user_id  # noqa: SLF001 - a copy of itself
        turn._context = context  # noqa: SLF001
        return turn

    def render_system_prompt(self) -> str:
        """Return the system prompt, for the turn given to `for_turn` or else for nobody in particular.

        Raises:
            PromptError: the template failed over this turn's context.
        """
        try:
            fields = _template_fields(self.__dict__)
            return render(self.system_prompt, fields, user_id=self._user_id, context=self._context)
        except PromptError as error:
            raise PromptError(f"persona '{self.id}': system_prompt: {error}") from error

    # Pydantic would compare the turn as well.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, PersonaConfig) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.version)


def _template_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    return {field: values[field] for field in TEMPLATE_FIELDS}
