"""Reading an OpenAI-style chat answer from a stream of bytes, for every provider that speaks this dialect.

A 200 is no success: OpenRouter sends it once an upstream provider accepts, before any token, and keeps it when that
provider then fails. So an answer counts only when it is whole (a finish_reason or `[DONE]`) and says something; all
else is an error with a posture. To call a tool that was offered is to say something.
"""

import codecs
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import httpx

from core.orchestrator.errors import LLMProviderError
from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.base import LABEL_CHARACTERS, CallAccepted, ChatCompletion
from core.orchestrator.providers.chat_framing import DONE, objects_of
from core.orchestrator.providers.chat_tool_calls import ToolCallReader
from core.orchestrator.providers.classification import failure, from_error
from core.orchestrator.providers.failure_kinds import Kind
from core.orchestrator.providers.redaction import Redactor
from core.orchestrator.providers.timing import DataTimer
from core.orchestrator.providers.untrusted import NOTHING, as_mapping, as_text, one_line
from core.orchestrator.providers.usage import read_usage

_GENERATED = ("content", "refusal", "reasoning", "reasoning_content", "reasoning_details", "tool_calls")
"""The fields of a message or delta that cost tokens."""


async def read_chat_answer(
    chunks: AsyncIterator[bytes],
    timer: DataTimer,
    *,
    redactor: Redactor,
    generation_id: str | None = None,
    with_tools: bool = False,
) -> AsyncGenerator[str | CallAccepted | ChatCompletion, None]:
    """Read pieces of text, then one `ChatCompletion` whose content they are; before them, the id of the call if known.

    Args:
        chunks: the decoded body, cut anywhere: an SSE stream, or the JSON that some servers send instead of one.
            It raises `LLMProviderError` where the connection breaks, and stays open when this iterator ends.
        timer: started when the request was.
        redactor: takes the key out of what is read.
        generation_id: what the head of the answer called the call; by default its first chunk does.
        with_tools: the model was offered tools. Else a call of one is no answer.

    Raises:
        LLMProviderError: there is no whole answer.
    """
    answer = ChatAnswer(redactor, generation_id, with_tools=with_tools)
    accepted = generation_id is not None
    if generation_id is not None:
        yield CallAccepted(generation_id)
    try:
        async with aclosing(objects_of(chunks)) as objects:
            while not answer.is_done:
                try:
                    async with timer.limit():
                        received = await anext(objects, None)
                except LLMProviderError:
                    if answer.finish_reason is None:
                        raise
                    break  # the text had ended; only usage or the closing marks are missing
                if received is None:
                    break
                timer.data_seen = True
                piece = answer.add(received)
                if answer.generation_id and not accepted:
                    accepted = True
                    yield CallAccepted(answer.generation_id)
                if piece:
                    yield piece
        if tail := answer.end():
            yield tail
        completion = answer.completion()
    except LLMProviderError as error:
        error.generation_id = error.generation_id or answer.generation_id
        if rest := answer.break_off():
            yield rest
        raise
    yield completion


class ChatAnswer:
    """One answer while it arrives, in chunks of a stream or whole."""

    def __init__(self, redactor: Redactor, generation_id: str | None = None, *, with_tools: bool = False) -> None:
        self.is_done = False
        self.finish_reason: str | None = None
        self.generation_id = generation_id
        self._redactor = redactor
        self._text = _Text(redactor)
        self._refusals: list[str] = []
        self._with_tools = with_tools
        self._tool_calls = ToolCallReader(redactor)
        self._calls_tools = False
        self._has_choices = False
        self._has_output = False
        self._facts: dict[str, str] = {}
        self._usage = read_usage(None)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Take in one chunk, or a whole completion, and return the text it adds.

        Raises:
            LLMProviderError: the chunk reports an error, or has tool calls that are none.
        """
        if chunk is DONE:
            self.is_done = True
            return ""
        self._take_facts(chunk)
        choices = chunk.get("choices")
        choice = as_mapping(choices[0]) if isinstance(choices, list) and choices else NOTHING
        message = as_mapping(choice.get("delta")) or as_mapping(choice.get("message"))
        self._has_output |= any(message.get(field) for field in _GENERATED)
        if error := chunk.get("error") or choice.get("error") or (chunk.get("object") == "error" and chunk):
            raise from_error(error, http_status=httpx.codes.OK, output_seen=self._has_output)
        if not choice:
            return ""
        self._has_choices = True
        self.finish_reason = as_text(choice.get("finish_reason")) or self.finish_reason
        if self._with_tools:
            self._tool_calls.add(message.get("tool_calls"))
        self._calls_tools |= bool(message.get("tool_calls") or message.get("function_call"))
        self._refusals.append(as_text(message.get("refusal")) or "")
        return self._text.add(_text_of(message.get("content")))

    def end(self) -> str:
        """Return the last text, which only the end shows to be complete. A refusal that stands alone is the answer."""
        tail = self._text.end()
        refusal = "".join(self._refusals)
        if self._has_ended and not self._text and refusal.strip():
            self.finish_reason = "content_filter"
            tail += self._text.add(refusal) + self._text.end()
        return tail

    def break_off(self) -> str:
        """Return the text that was held back when the answer broke."""
        return self._text.release()

    def completion(self) -> ChatCompletion:
        """Return the whole answer.

        Raises:
            LLMProviderError: it is cut off, empty, was ended by an error that nobody described, or calls tools in a
                way that cannot be understood.
        """
        if missing := self._what_is_missing():
            kind, message = missing
            known_free = self._usage is not None and self._usage.cost_usd == 0
            raise failure(kind, message, http_status=httpx.codes.OK, known_free=known_free)
        return ChatCompletion(
            content=str(self._text),
            model=self._label(self._facts.get("model")),
            upstream_provider=self._label(self._facts.get("provider")),
            finish_reason=self._label(self.finish_reason),
            usage=self._usage,
            generation_id=self.generation_id,
            tool_calls=self._tool_calls.whole(),
        )

    def _take_facts(self, chunk: Mapping[str, Any]) -> None:
        for name in ("model", "provider"):
            if value := as_text(chunk.get(name)):
                self._facts[name] = value
        if self.generation_id is None:
            self.generation_id = self._redactor.identity(one_line(chunk.get("id"), LABEL_CHARACTERS))
        # Counted once: the last report stands, in whichever of three shapes it came, and however often.
        self._usage = read_usage(chunk.get("usage")) or self._usage

    def _label(self, text: str | None) -> str | None:
        return self._redactor.line(one_line(text, LABEL_CHARACTERS)) or None

    @property
    def _has_ended(self) -> bool:
        return self.is_done or self.finish_reason is not None

    def _what_is_missing(self) -> tuple[Kind, str] | None:
        if not self._has_ended:
            return kinds.TRUNCATED, "the answer ended without a finish_reason"
        if self.finish_reason == "error":
            return kinds.SERVER_ERROR, "the upstream ended the answer with an error it did not describe"
        if not self._has_choices:
            return kinds.EMPTY, "the upstream sent an answer without choices"
        if self._text or self._tool_calls:
            return None
        if self._calls_tools:
            return kinds.EMPTY, "the model called a tool that nobody offered, and said nothing"
        said_nothing = (
            kinds.EMPTY,
            f"the upstream sent an empty answer (finish_reason {one_line(self.finish_reason, 40)})",
        )
        return _WHY_SILENT.get(self.finish_reason or "", said_nothing)


_WHY_SILENT = {
    "length": (kinds.OUTPUT_LIMIT, "max_tokens was used up before the first word of the answer: raise it"),
    "content_filter": (kinds.UNWILLING, "the upstream withheld the answer (content_filter)"),
}
"""An answer without text, by its finish_reason; after any other it is a failure of the upstream (a cold start)."""


class _Text:
    """Text that arrives in pieces, made safe for every encoder and database on its way.

    JSON may escape a character outside the BMP as two surrogates, and an upstream may cut between them: the first
    half waits for the second. What stays alone becomes U+FFFD. NUL, which PostgreSQL refuses, is dropped. Only then is
    the key looked for: nothing can be taken out of it any more that would make it whole.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._pieces: list[str] = []
        self._safe = redactor.text()
        self._joiner = codecs.getincrementaldecoder("utf-16-le")("replace")

    def add(self, piece: str) -> str:
        whole = self._joiner.decode(piece.encode("utf-16-le", "surrogatepass"))
        return self._keep(self._safe.add(whole.replace("\0", "")))

    def end(self) -> str:
        last = self._joiner.decode(b"", final=True)
        return self._keep(self._safe.add(last) + self._safe.end())

    def release(self) -> str:
        return self._keep(self._safe.end())

    def _keep(self, piece: str) -> str:
        if piece:
            self._pieces.append(piece)
        return piece

    def __bool__(self) -> bool:
        return any(not piece.isspace() for piece in self._pieces)

    def __str__(self) -> str:
        return "".join(self._pieces)


def _text_of(content: object) -> str:
    """Return the text of a message's content: a string, or the list of parts some upstreams answer with."""
    if isinstance(content, list):
        return "".join(_text_of(as_mapping(part).get("text")) for part in content)
    return content if isinstance(content, str) else ""
