"""What became of messages: lost, duplicated, reordered, or answered with another's reply. All four lists stay empty.

The checker believes nobody: it holds what the clients sent and were told against the stored transcript, the stored
interactions, and what the stand-in was asked and answered. Every message that is sent has a text of its own, and the
stand-in says what it was asked, so that each reply shows whose it is.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from typing import Any

from standin import reply
from standin.ledger import Call, Outcome
from standin.reply import text_of

Json = Mapping[str, Any]


class Strategy(Enum):
    """What the turns of a session did to earlier ones."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    INTERRUPT = "interrupt"
    ROLLBACK = "rollback"

    @property
    def displaces(self) -> bool:
        return self in (Strategy.INTERRUPT, Strategy.ROLLBACK)


class Answer(Enum):
    """What a client was told in the end."""

    ACCEPTED = auto()
    REFUSED = auto()
    """409: nothing of it may be left."""


@dataclass(frozen=True)
class Sent:
    """One message of one client, who repeated it under one key until there was an answer."""

    text: str
    session_id: str
    sent_at: float
    """When it was sent for the first time."""
    answered_at: float
    """When the client knew that it was accepted, or was not."""
    answer: Answer = Answer.ACCEPTED
    interaction_ids: frozenset[str] = frozenset()
    """Every interaction that a response to it named."""
    reply: str | None = None
    """The whole text that the client was shown, if it waited for it."""


@dataclass(frozen=True)
class Session:
    """What is left of a conversation."""

    session_id: str
    messages: Sequence[Json]
    """The transcript, as the API tells it."""
    interactions: Sequence[Json]
    """Every interaction of the session, as the API tells it."""
    strategy: Strategy = Strategy.ENQUEUE


@dataclass
class Findings:
    """Everything that is wrong, in words."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    misanswered: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def __str__(self) -> str:
        return "\n".join(f"{kind}: {what}" for kind, found in vars(self).items() for what in found) or "nothing"


def check(sent: Iterable[Sent], sessions: Iterable[Session], calls: Iterable[Call]) -> Findings:
    """Hold what was sent against what is there."""
    findings = Findings()
    by_session: defaultdict[str, list[Sent]] = defaultdict(list)
    for message in sent:
        by_session[message.session_id].append(message)
    asked: defaultdict[str, list[Call]] = defaultdict(list)
    for call in calls:
        asked[text_of(call.messages[-1])].append(call)
    for session in sessions:
        _Checker(findings, by_session.pop(session.session_id, []), session, asked).check()
    findings.lost += [f"session {name} is not there" for name in by_session]
    return findings


class _Checker:
    """Checks one session."""

    def __init__(
        self, findings: Findings, sent: Sequence[Sent], session: Session, asked: Mapping[str, Sequence[Call]]
    ) -> None:
        self.findings = findings
        self.sent = sent
        self.session = session
        self.asked = asked
        self.views = {view["interaction_id"]: view for view in session.interactions}
        self.users = [message for message in session.messages if message["role"] == "user"]
        self.replies = {
            message["interaction_id"]: message for message in session.messages if message["role"] == "assistant"
        }
        self.place = {message["content"]: number for number, message in enumerate(session.messages)}

    def check(self) -> None:
        self._each_is_there_once()
        self._turns_are_in_order()
        for message in self.sent:
            if message.answer is Answer.REFUSED:
                self._left_no_trace(message)
            else:
                self._has_its_reply(message)
        self._prompts_are_the_transcript()

    def _each_is_there_once(self) -> None:
        numbers = Counter(message["sequence"] for message in self.session.messages)
        self._duplicated(f"sequence {number}" for number, times in numbers.items() if times > 1)
        roles = Counter((message["interaction_id"], message["role"]) for message in self.session.messages)
        self._duplicated(f"the {role} message of {of}" for (of, role), times in roles.items() if times > 1)
        texts = Counter(message["content"] for message in self.users)
        self._duplicated(f"{text!r}" for text, times in texts.items() if times > 1)
        known = {message.text for message in self.sent}
        self.findings.misanswered += [
            f"nobody sent {message['content']!r}" for message in self.users if message["content"] not in known
        ]
        turns = len([message for message in self.sent if message.answer is Answer.ACCEPTED])
        if len(self.views) > turns:
            self._duplicated([f"{len(self.views)} interactions in {self.session.session_id} for {turns} messages"])

    def _turns_are_in_order(self) -> None:
        """Numbers rise, a reply follows its own message, and who was answered before another asked comes before."""
        told = self.session.messages
        for before, after in pairwise(told):
            if before["sequence"] >= after["sequence"]:
                self._reordered(f"{after['sequence']} comes after {before['sequence']}")
            if after["role"] == "assistant" and before["interaction_id"] != after["interaction_id"]:
                self._reordered(f"the reply of {after['interaction_id']} follows {before['interaction_id']}")
        if told and told[0]["role"] == "assistant":
            self._reordered(f"{self.session.session_id} begins with a reply")
        if self.session.strategy is not Strategy.ROLLBACK:
            # Two numbers a turn, and only the reply of one that was cancelled before it said anything is missing.
            expected = [2 * turn + 1 for turn in range(len(self.users))]
            if [message["sequence"] for message in self.users] != expected:
                self.findings.lost.append(f"{self.session.session_id} has a gap")
        stored = sorted(
            (message for message in self.sent if message.text in self.place),
            key=lambda message: self.place[message.text],
        )
        latest_start = 0.0
        for message in stored:
            if message.answered_at < latest_start:
                self._reordered(f"{message.text!r} was answered before an earlier one was sent")
            latest_start = max(latest_start, message.sent_at)

    def _left_no_trace(self, message: Sent) -> None:
        if message.text in self.place or message.text in self.asked:
            self.findings.misanswered.append(f"{message.text!r} was refused and is there")

    def _has_its_reply(self, message: Sent) -> None:
        if len(message.interaction_ids) > 1:
            self._duplicated([f"{message.text!r} became {sorted(message.interaction_ids)}"])
        stored = [user for user in self.users if user["content"] == message.text]
        ids = {user["interaction_id"] for user in stored} | message.interaction_ids
        view = self.views.get(min(ids)) if len(ids) == 1 else None
        if view is None:
            self.findings.lost.append(f"{message.text!r} belongs to {sorted(ids)}")
            return
        status, own = view["status"], self.replies.get(view["interaction_id"])
        if status == "cancelled" and self.session.strategy is Strategy.ROLLBACK:
            if stored or own:
                self.findings.misanswered.append(f"{message.text!r} was rolled back and is there")
            return
        if not stored:
            self.findings.lost.append(f"{message.text!r} ({status})")
            return
        if status == "cancelled" and self.session.strategy.displaces:
            self._is_a_beginning(message, own)
        elif status != "completed":
            self.findings.lost.append(f"the reply to {message.text!r}: it is {status}")
        elif own is None:
            self.findings.lost.append(f"the reply to {message.text!r}")
        else:
            self._is_the_reply(message, view, own)

    def _is_a_beginning(self, message: Sent, own: Json | None) -> None:
        if own is None:
            return
        whole = [_said(call) for call in self.asked.get(message.text, [])]
        if own["status"] != "cancelled" or not any(text.startswith(own["content"]) for text in whole):
            self.findings.misanswered.append(f"{message.text!r} was cut short as {own['status']} {own['content']!r}")

    def _is_the_reply(self, message: Sent, view: Json, own: Json) -> None:
        texts = {own["content"], view["message"], *([] if message.reply is None else [message.reply])}
        if len(texts) > 1:
            self.findings.misanswered.append(f"{message.text!r} has several replies: {sorted(texts)}")
        if f'You said: "{message.text}"' not in own["content"]:
            self.findings.misanswered.append(f"{message.text!r} got {own['content']!r}")
        self._is_paid_once(message, view)

    def _is_paid_once(self, message: Sent, view: Json) -> None:
        """One answer came of it; the upstream finished others only for workers that were lost before they had it."""
        succeeded = [attempt for attempt in view["attempts"] if attempt["status"] == "succeeded"]
        if len(succeeded) != 1:
            self._duplicated([f"{message.text!r} succeeded {len(succeeded)} times"])
        lost = Counter(attempt["model"] for attempt in view["attempts"] if attempt["error_type"] == "worker_lost")
        finished = Counter(call.model for call in self.asked.get(message.text, []) if call.outcome is Outcome.COMPLETED)
        for model, times in finished.items():
            if times > lost[model] + sum(attempt["model"] == model for attempt in succeeded):
                self._duplicated([f"{model} answered {message.text!r} {times} times"])

    def _prompts_are_the_transcript(self) -> None:
        """A model is sent the newest messages before its own, in their order, and no others."""
        for user in self.users:
            number = self.place[user["content"]]
            earlier = [message["content"] for message in self.session.messages[:number]]
            for call in self.asked.get(user["content"], []):
                remembered = [text_of(message) for message in call.messages[1:-1]]
                if not _is_in_order(remembered, earlier):
                    self._reordered(f"{user['content']!r} was asked after {remembered}, stored after {earlier}")
                elif not self.session.strategy.displaces and remembered != earlier[len(earlier) - len(remembered) :]:
                    self.findings.lost.append(f"{user['content']!r} was asked without some of {earlier}")

    def _duplicated(self, what: Iterable[str]) -> None:
        self.findings.duplicated += what

    def _reordered(self, what: str) -> None:
        self.findings.reordered.append(what)


def _said(call: Call) -> str:
    return "".join(reply.pieces(call.model, call.messages))


def _is_in_order(some: Sequence[str], every: Sequence[str]) -> bool:
    left: Iterator[str] = iter(every)
    return all(one in left for one in some)
