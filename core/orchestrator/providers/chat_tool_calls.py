"""Tool calls as OpenAI's chat API streams them: put together from pieces that say to which call they belong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.orchestrator.contracts import ToolCall
from core.orchestrator.errors import LLMProviderError
from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.classification import failure
from core.orchestrator.providers.redaction import Redactor
from core.orchestrator.providers.tool_calls import MOST_BYTES, MOST_CALLS, sound_tool_calls
from core.orchestrator.providers.untrusted import as_mapping, as_text


@dataclass(slots=True)
class _Begun:
    """A call of which more may come."""

    id: str = ""
    kind: object = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ToolCallReader:
    """The tool calls of one answer while they arrive, in pieces or whole."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._begun: list[_Begun] = []
        self._by_index: dict[int, _Begun] = {}
        self._characters = 0

    def __bool__(self) -> bool:
        return bool(self._begun)

    def add(self, pieces: object) -> None:
        """Take in the `tool_calls` of a delta or a message.

        Raises:
            LLMProviderServiceError: (`malformed`) they are none, or too long.
        """
        if not pieces:
            return
        if not isinstance(pieces, list):
            raise _malformed("they are no list")
        for piece in pieces:
            self._add(as_mapping(piece))
            if self._characters > MOST_BYTES or len(self._begun) > MOST_CALLS:
                raise _malformed("they are too many, or too long")

    def whole(self) -> list[ToolCall] | None:
        """Return the calls, whole and without the key; None where there are none.

        Raises:
            LLMProviderServiceError: (`malformed`) one is none.
        """
        try:
            return sound_tool_calls([self._told(call) for call in self._begun])
        except ValueError as error:
            raise _malformed(str(error)) from None

    def _add(self, piece: Mapping[str, Any]) -> None:
        function = as_mapping(piece.get("function"))
        call_id, name, arguments = as_text(piece.get("id")) or "", function.get("name"), function.get("arguments")
        if not all(part is None or isinstance(part, str) for part in (name, arguments)):
            raise _malformed("the name or the arguments of a call are no text")
        call = self._call_of(piece.get("index"), call_id, name)
        call.id = call.id or call_id
        call.kind = call.kind or piece.get("type")
        if name and name != call.name:  # some servers repeat it with every piece
            call.name += name
            self._characters += len(name)
        if arguments:
            call.arguments.append(arguments)
            self._characters += len(arguments)

    def _call_of(self, index: object, call_id: str, name: str | None) -> _Begun:
        """Return the call that a piece belongs to: the one of its index; without one, the last or a new one."""
        if isinstance(index, int) and index in self._by_index:
            return self._by_index[index]
        if not isinstance(index, int) and self._begun:
            last = self._begun[-1]
            if (call_id and call_id == last.id) or not (call_id or name):
                return last
        call = _Begun()
        self._begun.append(call)
        if isinstance(index, int):
            self._by_index[index] = call
        return call

    def _told(self, call: _Begun) -> Mapping[str, Any]:
        said = {"name": self._clear(call.name), "arguments": self._clear("".join(call.arguments))}
        return {"id": self._redactor.identity(call.id), "type": call.kind, "function": said}

    def _clear(self, text: str) -> str:
        reader = self._redactor.text()
        return reader.add(as_text(text) or "") + reader.end()


def _malformed(why: str) -> LLMProviderError:
    return failure(kinds.MALFORMED, f"the upstream sent tool calls that are none: {why}", http_status=200)
