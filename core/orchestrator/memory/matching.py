"""How far what a client takes for the conversation is what is stored of it: a walk along one branch, turn by turn.

A client has heard less than what is stored where it stopped listening: the reply went on without it. That counts as
heard where the reply was cut off, or where nothing follows it yet. It is passed over in silence where the client knows
nothing of a turn that nobody answered: it asked again. And where it stopped a reply before it heard a word, and said
more, the two questions stand side by side in what it sends: they are two turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.orchestrator.contracts import Message
from core.orchestrator.memory.exchanges import Exchange, Reply, ask_the_same, begins_with


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn of a branch, for comparing."""

    number: int
    interaction_id: str
    """Of the last message."""
    asked: Sequence[Message]
    reply: Reply
    heard: Reply | None = None
    """What is remembered of the reply, where that is less: all that its client had heard when it went on."""
    is_open: bool = False
    """It has not ended, so its reply is not known yet."""
    is_cut: bool = False
    """Its reply was cut off, or was to be."""
    is_remembered: bool = True
    """Later prompts tell of it."""
    is_brought: bool = False
    """It was held elsewhere."""

    def asks(self, messages: Sequence[Message]) -> bool:
        """Whether it is still to be answered, and asks just this."""
        return self.is_open and not self.is_cut and list(self.asked) == list(messages)

    def replied(self, reply: Reply) -> bool:
        """Whether a client may have heard this as its reply."""
        if self.is_open or (self.is_cut and not reply):
            return True
        return reply in (self.reply, self.heard) or reply.begins(self.reply)

    def was_stopped(self, messages: Sequence[Message]) -> bool:
        """Whether a client that sends this heard nothing of the reply, and went on."""
        return (self.is_open or self.is_cut) and self.is_remembered and begins_with(messages, self.asked)

    @property
    def is_unanswered(self) -> bool:
        """Whether it has ended, and without a word."""
        return not (self.is_open or self.reply)


class Walk:
    """Compares a client's conversation with the turns of one branch, which come one after the other."""

    def __init__(self, said: Sequence[Exchange], begin: int = 0, new: Sequence[Message] = ()) -> None:
        """Compare `said`, and what may be stored of what is `new`, with what follows the turn `begin`."""
        self._said = list(said)
        self.new = new
        """What follows all of that, and is to be answered now."""
        self.matched = 0
        """So many exchanges are stored."""
        self.repeats = False
        """The client has sent a reply of ours again."""
        self.passed_over: list[StoredTurn] = []
        """Turns that nobody answered, and of which the client knows nothing."""
        self.interrupted: list[StoredTurn] = []
        """Turns that have not ended, but the client went on without waiting."""
        self.heard: dict[int, Sequence[Message]] = {}
        """What the client has as the reply of a turn, where that is remembered otherwise: only a part, or again all."""
        self.blocked_by: StoredTurn | None = None
        """The turn that the client knows nothing of, or has otherwise; None: the branch ends where the client does."""
        self.ends_unanswered = False
        """The last turn was passed over: what follows for the client may be in another branch."""
        self.common_turn = begin
        """The last turn up to which everything has ended and is as the client has it."""
        self._common = 0
        """So many exchanges lead there."""
        self._all_ended = True
        self._doubtful: StoredTurn | None = None
        """The last turn that matched, if that counts only as long as nothing follows it."""

    @property
    def left(self) -> Sequence[Exchange]:
        """What the client has beyond the branch."""
        return self._said[self.matched :]

    @property
    def reaches_end(self) -> bool:
        """Whether the client has all of the branch."""
        return self.blocked_by is None

    @property
    def left_after_common(self) -> Sequence[Exchange]:
        """What the client has beyond `common_turn`."""
        return self._said[self._common :]

    @property
    def has_all(self) -> bool:
        """Whether the branch has all of what the client has."""
        return self.matched == len(self._said)

    def take(self, turn: StoredTurn) -> bool:
        """Compare with the next turn; return whether the one after it is of interest."""
        if self._doubtful is not None and not turn.is_unanswered:
            # Somebody has heard all of it, and went on from there.
            self.matched -= 1
            self.blocked_by = self._doubtful
            del self.heard[self._doubtful.number]
            return False
        self._part(turn)
        exchange = self.left[0] if self.left else None
        if exchange and ask_the_same(turn.asked, exchange.asked) and turn.replied(exchange.reply):
            self._match(turn, exchange)
        elif turn.is_unanswered:
            self.passed_over.append(turn)
            self.ends_unanswered = True
        else:
            self.blocked_by = turn
            return False
        return True

    def _part(self, turn: StoredTurn) -> None:
        """Part what the client asked from what it said next, if it stopped the turn before it heard a word."""
        if self.left:
            both = self.left[0]
            if turn.was_stopped(both.asked):
                count = len(turn.asked)
                parts = Exchange(both.asked[:count], []), Exchange(both.asked[count:], both.replied)
                self._said[self.matched : self.matched + 1] = parts
        elif turn.was_stopped(self.new):
            self._said.append(Exchange(self.new[: len(turn.asked)], []))
            self.new = self.new[len(turn.asked) :]

    def _match(self, turn: StoredTurn, exchange: Exchange) -> None:
        self.matched += 1
        self.ends_unanswered = False
        self.repeats = self.repeats or (bool(exchange.reply) and not turn.is_brought)
        if turn.is_open:
            self.interrupted.append(turn)
            self._all_ended = False
            return
        reply = exchange.reply
        if reply != (turn.heard or turn.reply):
            self.heard[turn.number] = exchange.replied
        self._doubtful = None if turn.is_cut or reply in (turn.reply, turn.heard) else turn
        if self._all_ended and self._doubtful is None:
            self.common_turn, self._common = turn.number, self.matched
