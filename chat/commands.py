"""What a line means that begins with a slash."""

from collections.abc import Callable

from chat.conversation import Conversation, UnknownPersonaError, find_persona, new_session_id, personas
from chat.screen import Screen


class Commands:
    """The commands of a chat."""

    def __init__(self, conversation: Conversation, screen: Screen) -> None:
        """Let commands change `conversation`, and show what comes of it."""
        self._conversation = conversation
        self._screen = screen
        self.left = False
        """Whether the user has left."""
        self._known: dict[str, tuple[str, str, Callable[[str], None]]] = {
            "/persona": ("ID", "talk to somebody else, in the same session", self._persona),
            "/personas": ("", "who there is", self._personas),
            "/model": ("NAME", "ask this model; without a name, the persona's own", self._model),
            "/new": ("", "begin a new session", self._new),
            "/history": ("", "what was said in this session", self._history),
            "/help": ("", "this list", self._help),
            "/quit": ("", "leave; so do Ctrl-C and Ctrl-D", self._quit),
        }

    def run(self, line: str) -> None:
        """Carry out a command.

        Raises:
            ClientError: the service does not answer, or refuses.
        """
        name, _, argument = line.partition(" ")
        if name not in self._known:
            self._screen.mark(f"{name} is no command")
            self._help("")
            return
        self._known[name][2](argument.strip())

    def _persona(self, persona_id: str) -> None:
        if not persona_id:
            self._personas("")
            return
        try:
            self._conversation.persona = find_persona(self._conversation.client, persona_id)
        except UnknownPersonaError as error:
            self._screen.mark(str(error))
            return
        self._screen.greet(self._conversation.persona)

    def _personas(self, _: str) -> None:
        self._screen.personas(personas(self._conversation.client))

    def _model(self, name: str) -> None:
        self._conversation.model = name or None
        self._screen.note(f"asking {name or 'the model of the persona'} from now on")

    def _new(self, _: str) -> None:
        self._conversation.session_id = new_session_id()
        self._screen.note(f"session {self._conversation.session_id}")
        self._screen.greet(self._conversation.persona)

    def _history(self, _: str) -> None:
        messages = self._conversation.messages()
        if not messages:
            self._screen.note("nothing was said in this session yet")
        for message in messages:
            said_at = message["created_at"][:16].replace("T", " ")
            how = "" if message["status"] == "completed" else f" · {message['status']}"
            self._screen.note(f"{message['role']} · {said_at}{how}")
            self._screen.say(message["content"])

    def _help(self, _: str) -> None:
        for name, (argument, meaning, _run) in self._known.items():
            self._screen.say(f"{name + ' ' + argument:<14}{meaning}")
        self._screen.say(f"{'Ctrl-C':<14}while a reply comes: cancel it")

    def _quit(self, _: str) -> None:
        self.left = True
