"""The chat itself: a line is read, a reply is shown, until the user leaves."""

import io
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console

from chat.commands import Commands
from chat.conversation import Conversation, UnknownPersonaError, find_persona, new_session_id, personas
from chat.interruption import on_first_interrupt
from chat.screen import Screen, ending_of, facts_of
from core.orchestrator.examples.reply_reducer import Reply
from core.orchestrator.examples.service_client import Client, ClientError
from core.orchestrator.examples.terminal import note_of

_PROMPT = "> "


def run_chat(
    console: Console,
    url: str,
    *,
    user_id: str | None,
    default_persona_id: str,
    persona_id: str | None = None,
    session_id: str | None = None,
    model: str | None = None,
    api_key: str | None = None,
) -> None:
    """Chat until the user leaves; without a `user_id`, as the user of the key.

    Raises:
        ClientError: the service is not up, or does not know the persona.
    """
    screen = Screen(console)
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # no odd character ends a conversation
    with Client(url, notice=screen.note, api_key=api_key) as client:
        conversation = Conversation(
            client,
            user_id,
            session_id or new_session_id(),
            _persona(client, persona_id, default_persona_id),
            model,
        )
        if session_id is not None:
            conversation.check()
        screen.greet(conversation.persona)
        begun = f"session {conversation.session_id}{'' if session_id is None else ', continued: /history shows it'}"
        screen.note(f"{begun} · /help lists what else there is · Ctrl-D leaves\n")
        Chat(conversation, screen).run(_reader())


def _persona(client: Client, wanted: str | None, default: str) -> dict[str, object]:
    try:
        return find_persona(client, wanted or default)
    except UnknownPersonaError as error:
        if wanted is not None:
            raise ClientError(str(error)) from error
        return personas(client)[0]  # the service is not set as we are


class Chat:
    """A conversation on a screen."""

    def __init__(self, conversation: Conversation, screen: Screen) -> None:
        """Put a conversation on a screen."""
        self._conversation = conversation
        self._screen = screen
        self._commands = Commands(conversation, screen)

    def run(self, read: Callable[[], str]) -> None:
        """Read lines and answer them until there are no more, or the user leaves."""
        with suppress(EOFError, KeyboardInterrupt):
            while not self._commands.left:
                self._take(read().strip())
        if self._screen.is_terminal:
            self._screen.say("")  # the prompt's line ends
            self._screen.note(f"this conversation goes on with --session-id {self._conversation.session_id}")

    def _take(self, line: str) -> None:
        try:
            if line.startswith("/"):
                self._commands.run(line)
            elif line:
                self._talk(line)
        except ClientError as error:
            if not self._screen.is_terminal:
                raise  # nobody is there to try something else
            self._screen.mark(f"error: {error}")
        except KeyboardInterrupt:
            self._screen.mark("\nno longer waiting; if the service is there, it goes on by itself")

    def _talk(self, message: str) -> None:
        reply = Reply()
        known = threading.Event()
        shown = self._screen.reply(self._conversation.persona["name"])
        client = self._conversation.client

        def cancel() -> None:
            when = "" if reply.interaction_id is not None else " as soon as the service is there"
            shown.note(f"cancelling{when}; Ctrl-C once more stops waiting")
            known.wait()
            if reply.interaction_id is not None:
                try:
                    client.cancel(reply.interaction_id)
                except ClientError as error:
                    self._screen.mark(f"not cancelled: {error}")

        client.notice = shown.note
        try:
            with on_first_interrupt(cancel):
                for event in client.stream_interact(self._conversation.body(message), reply):
                    known.set()
                    if (note := note_of(event)) is not None:
                        shown.note(note)
                    if self._screen.is_terminal:
                        shown.show(reply.text)
        finally:
            known.set()
            client.notice = self._screen.note
        shown.end(reply.text)
        if reply.response is not None:
            if (ending := ending_of(reply.response)) is not None:
                self._screen.mark(ending)
            self._screen.note(f"{facts_of(reply.response)}\n")


def _reader() -> Callable[[], str]:
    """Return what reads a line: with a prompt, editing and a memory of lines where a person types them."""
    if not sys.stdin.isatty():
        return _next_line
    with suppress(ImportError):
        import readline  # noqa: PLC0415 - `input` uses it once it is imported

        readline.parse_and_bind("set enable-bracketed-paste on")  # several lines at once are one message
    return lambda: input(_PROMPT)


def _next_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
