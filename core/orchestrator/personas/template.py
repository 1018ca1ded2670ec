"""System prompts are Jinja2 templates, rendered in a sandbox over plain data.

Persona fields are strict: a misspelt one fails, and does so while the file is loaded. What hangs below `context` is
lenient, because it is the client's to send or to leave out: a missing key reads as nothing, at any depth, and no key
can be mistaken for a method of `dict`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import ChainableUndefined, StrictUndefined, Template, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.orchestrator.errors import PromptError


class _ClientData(dict[str, Any]):
    """A dictionary a template may ask for anything."""

    def __missing__(self, key: str) -> ChainableUndefined:
        return ChainableUndefined(name=key)


class _PromptEnvironment(ImmutableSandboxedEnvironment):
    """Reads `context.items` as the client's key "items", never as the method."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return obj[attribute] if isinstance(obj, _ClientData) else super().getattr(obj, attribute)


_environment = _PromptEnvironment(
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=lambda value: "" if value is None else value,
)


def check_syntax(template: str) -> None:
    """Compile a template.

    Raises:
        PromptError: it is not valid Jinja2.
    """
    _compile(template)


def render(template: str, fields: Mapping[str, Any], *, user_id: str, context: Mapping[str, Any]) -> str:
    """Return the text of a template.

    Args:
        template: Jinja2 source.
        fields: the persona's fields, as plain data: a template must not reach an object's methods.
        user_id: who is talking.
        context: the request's object.

    Raises:
        PromptError: the template cannot be compiled, failed over this data, or rendered to nothing.
    """
    compiled = _compile(template)
    try:
        text = compiled.render({**fields, "user_id": user_id, "context": _lenient(context)}).strip()
    except Exception as error:
        raise PromptError(f"the template failed: {error}") from error
    if not text:
        raise PromptError("the template renders to nothing")
    return text


@lru_cache(maxsize=256)
def _compile(template: str) -> Template:
    try:
        return _environment.from_string(template)
    except TemplateSyntaxError as error:
        raise PromptError(f"line {error.lineno} of the template: {error.message}") from error


def _lenient(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _ClientData((key, _lenient(item)) for key, item in value.items())
    return [_lenient(item) for item in value] if isinstance(value, list) else value
