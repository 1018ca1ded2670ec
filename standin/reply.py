"""What the stand-in answers: a text that shows what it was sent, so that persona and memory can be seen to work.

    Cherry here (a stand-in for openai/gpt-4 speaking). You said: "And now?". I remember 2 earlier messages.
    Before that you said: "Hello".

What a tool of the client's said last is told too: `A tool said: "18 degrees".` (for its calls see `standin.tools`).
The same request always gets the same text. A request to go on with an answer that broke off gets what is missing of
it, word for word: both parts joined are the answer as it would have been, whichever model begins or ends it.
"""

import re
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

_INSTRUCTIONS = {"system", "developer"}
_LAST_MESSAGE_LIMIT = 200
_EARLIER_MESSAGE_LIMIT = 80
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_GO_ON = re.compile(r"\b(continue|go on|carry on|stopped|broke off|left off)\b", re.IGNORECASE)
_WHO_BEGAN = re.compile(r"\(a stand-in for (\S+)")
_NAME = re.compile(r"\s*You are ([^,.:;\n]{1,60})")


def pieces(model: str, messages: Sequence[Message]) -> list[str]:
    """Return the answer in tokens; or its rest, where the messages ask to go on with one that broke off."""
    return _rest(model, messages) or tokens(compose(model, messages))


def compose(model: str, messages: Sequence[Message]) -> str:
    """Say who speaks, what was said last, and what is remembered from before."""
    conversation = [message for message in messages if message.get("role") not in _INSTRUCTIONS]
    users = [place for place, message in enumerate(conversation) if message.get("role") == "user"]
    last = users[-1] if users else len(conversation)
    said = f'You said: "{_quote(conversation[last], _LAST_MESSAGE_LIMIT)}".' if users else "You said nothing."
    remembered = f"I remember {last} earlier message{'' if last == 1 else 's'}."
    text = f"{_speaker(messages)} here (a stand-in for {model} speaking). {said} {remembered}"
    if len(users) > 1:
        text += f' Before that you said: "{_quote(conversation[users[-2]], _EARLIER_MESSAGE_LIMIT)}".'
    return text + "".join(f' A tool said: "{_quote(told, _LAST_MESSAGE_LIMIT)}".' for told in _last_results(messages))


def tokens(text: str) -> list[str]:
    """Cut a text into what the stand-in calls tokens: words with the space before them."""
    return re.findall(r"\s*\S+", text)


def count_prompt_tokens(messages: Sequence[Message]) -> int:
    """Estimate the tokens of a prompt: the stand-in has no tokenizer, only a rule that never changes."""
    return sum(_TOKENS_PER_MESSAGE + len(text_of(message)) // _CHARACTERS_PER_TOKEN for message in messages)


def text_of(message: Message) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def _rest(model: str, messages: Sequence[Message]) -> list[str]:
    """Return what is missing of an answer that is said in part, in the model's own words; nothing if none is.

    Also an ordinary conversation ends with the assistant's words and the user's. There the words are a whole answer
    to what went before, and the user rarely asks to go on.
    """
    *before, begun, request = messages if len(messages) > 1 else ({}, {})
    if (begun.get("role"), request.get("role")) != ("assistant", "user") or not _GO_ON.search(text_of(request)):
        return []
    said = text_of(begun)
    who = _WHO_BEGAN.search(said)
    whole = compose(who[1] if who else model, before)
    if not whole.startswith(said) or said == whole:
        return []
    spoken = tokens(said)
    # Names of models are one token each, so the same token of another model's answer comes next.
    rest_of_token = tokens(whole)[len(spoken) - 1].removeprefix(spoken[-1]) if spoken else ""
    return [*filter(None, [rest_of_token]), *tokens(compose(model, before))[len(spoken) :]]


def _last_results(messages: Sequence[Message]) -> Sequence[Message]:
    """Return what the client's tools have said since anybody else spoke."""
    others = [place for place, message in enumerate(messages) if message.get("role") != "tool"]
    return messages[others[-1] + 1 :] if others else messages


def _speaker(messages: Sequence[Message]) -> str:
    instructions = next((text_of(message) for message in messages if message.get("role") in _INSTRUCTIONS), None)
    if instructions is None:
        return "Nobody (no system message)"
    name = _NAME.match(instructions)
    return name[1].strip() if name else "Somebody (the system message gives no name)"


def _quote(message: Message, limit: int) -> str:
    text = text_of(message)
    return text if len(text) <= limit else f"{text[:limit]}…"
