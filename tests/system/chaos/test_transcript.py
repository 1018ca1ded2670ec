"""The checker of transcripts notices what it is there for: every break of a good conversation, and nothing else."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest

from standin import Call, Outcome, reply
from standin.catalogue import Price
from tests.system.chaos.transcript import Answer, Findings, Sent, Session, Strategy, check

MODEL = "openai/gpt-4"
TEXTS = ("first", "second", "third")
SYSTEM = {"role": "system", "content": "You are Cherry."}


def asked(messages: list[dict[str, Any]], model: str = MODEL, outcome: Outcome = Outcome.COMPLETED) -> Call:
    price = Price(prompt=1, completion=1)  # type: ignore[arg-type]
    call = Call(1, model, messages, stream=True, parameters={}, headers={}, price=price, prompt_tokens=1)
    call.outcome = outcome
    return call


def attempt(status: str = "succeeded", error_type: str | None = None, model: str = MODEL) -> dict[str, Any]:
    return {"status": status, "error_type": error_type, "model": model}


@dataclass
class Story:
    """A conversation of three turns in which nothing is wrong, to be broken by a test."""

    sent: list[Sent]
    messages: list[dict[str, Any]]
    interactions: list[dict[str, Any]]
    calls: list[Call]
    strategy: Strategy = Strategy.ENQUEUE

    @classmethod
    def good(cls) -> "Story":
        story = cls([], [], [], [])
        history: list[dict[str, Any]] = []
        for turn, text in enumerate(TEXTS):
            history.append({"role": "user", "content": text})
            call = asked([SYSTEM, *history])
            said = reply.compose(MODEL, call.messages)
            history.append({"role": "assistant", "content": said})
            for part, (role, content) in enumerate((("user", text), ("assistant", said))):
                story.messages.append(
                    {
                        "sequence": 2 * turn + part + 1,
                        "role": role,
                        "content": content,
                        "status": "completed",
                        "interaction_id": f"i{turn}",
                    }
                )
            story.interactions.append(
                {"interaction_id": f"i{turn}", "status": "completed", "message": said, "attempts": [attempt()]}
            )
            story.sent.append(Sent(text, "s", turn, turn + 0.5, interaction_ids=frozenset({f"i{turn}"}), reply=said))
            story.calls.append(call)
        return deepcopy(story)

    def check(self) -> Findings:
        return check(self.sent, [Session("s", self.messages, self.interactions, self.strategy)], self.calls)

    def end(self, turn: int, status: str) -> None:
        """Let a turn end so, with nobody waiting for it."""
        self.interactions[turn]["status"] = status
        self.sent[turn] = replace(self.sent[turn], reply=None)


def test_a_good_conversation_is_in_order() -> None:
    assert str(Story.good().check()) == "nothing"


def lose_a_message(story: Story) -> None:
    del story.messages[2]


def lose_a_turn(story: Story) -> None:
    del story.messages[2:4]


def lose_the_last_turn(story: Story) -> None:
    del story.messages[4:], story.interactions[2:]


def lose_a_reply(story: Story) -> None:
    del story.messages[3]


def leave_a_turn_open(story: Story) -> None:
    story.interactions[1]["status"] = "in_progress"


def forget_a_turn_in_a_prompt(story: Story) -> None:
    del story.calls[2].messages[3:5]


def lose_the_session(story: Story) -> None:
    story.sent[0] = replace(story.sent[0], session_id="another")


def store_a_message_twice(story: Story) -> None:
    story.messages += [{**message, "sequence": message["sequence"] + 2} for message in story.messages[4:]]


def give_a_number_twice(story: Story) -> None:
    story.messages[3]["sequence"] = 3


def store_a_reply_twice(story: Story) -> None:
    story.messages.append({**story.messages[5], "sequence": 7})


def make_two_of_one_request(story: Story) -> None:
    story.sent[1] = replace(story.sent[1], interaction_ids=frozenset({"i1", "i7"}))


def open_an_interaction_nobody_asked_for(story: Story) -> None:
    story.interactions.append({**story.interactions[2], "interaction_id": "i3"})


def pay_twice(story: Story) -> None:
    story.calls.append(asked(story.calls[1].messages))


def succeed_twice(story: Story) -> None:
    story.interactions[1]["attempts"].append(attempt())


def swap_numbers(story: Story) -> None:
    story.messages[2:] = story.messages[4:] + story.messages[2:4]


def overtake(story: Story) -> None:
    early, late = story.sent[0], story.sent[2]
    story.sent[0] = replace(early, sent_at=late.sent_at, answered_at=late.answered_at)
    story.sent[2] = replace(late, sent_at=early.sent_at, answered_at=early.answered_at)


def put_a_reply_before_its_message(story: Story) -> None:
    story.messages[2], story.messages[3] = (
        {**story.messages[3], "sequence": 3},
        {**story.messages[2], "sequence": 4},
    )


def mix_up_a_prompt(story: Story) -> None:
    messages = story.calls[2].messages
    messages[1], messages[3] = messages[3], messages[1]


def swap_replies(story: Story) -> None:
    for which, field in ((story.messages, "content"), (story.interactions, "message")):
        first, second = (which[1], which[3]) if field == "content" else (which[0], which[1])
        first[field], second[field] = second[field], first[field]
    story.sent[0], story.sent[1] = (replace(sent, reply=None) for sent in story.sent[:2])


def show_another_text(story: Story) -> None:
    story.sent[1] = replace(story.sent[1], reply="Something else")


def tell_another_text(story: Story) -> None:
    story.interactions[1]["message"] = "Something else"


def store_what_nobody_sent(story: Story) -> None:
    story.messages[4]["content"] = "something else"


def keep_a_refused_message(story: Story) -> None:
    story.sent[2] = replace(story.sent[2], answer=Answer.REFUSED)


def ask_a_model_for_a_refused_message(story: Story) -> None:
    keep_a_refused_message(story)
    del story.messages[4:], story.interactions[2:]


Break = Callable[[Story], None]


@pytest.mark.parametrize(
    ("kind", "break_it"),
    [
        *(("lost", how) for how in (lose_a_message, lose_a_turn, lose_the_last_turn, lose_a_reply, leave_a_turn_open)),
        *(("lost", how) for how in (forget_a_turn_in_a_prompt, lose_the_session)),
        *(("duplicated", how) for how in (store_a_message_twice, give_a_number_twice, store_a_reply_twice)),
        *(("duplicated", how) for how in (make_two_of_one_request, open_an_interaction_nobody_asked_for)),
        *(("duplicated", how) for how in (pay_twice, succeed_twice)),
        *(("reordered", how) for how in (swap_numbers, overtake, put_a_reply_before_its_message, mix_up_a_prompt)),
        *(("misanswered", how) for how in (swap_replies, show_another_text, tell_another_text)),
        *(("misanswered", how) for how in (store_what_nobody_sent, keep_a_refused_message)),
        ("misanswered", ask_a_model_for_a_refused_message),
    ],
)
def test_what_is_broken_is_found(kind: str, break_it: Break) -> None:
    story = Story.good()
    break_it(story)
    findings = story.check()
    assert getattr(findings, kind), f"{break_it.__name__} was taken for {findings}"


def test_an_answer_that_was_finished_for_a_lost_worker_is_no_second_one() -> None:
    story = Story.good()
    pay_twice(story)
    story.interactions[1]["attempts"].insert(0, attempt("failed", "worker_lost"))
    assert str(story.check()) == "nothing"


def test_memory_may_be_shorter_than_the_conversation() -> None:
    story = Story.good()
    del story.calls[2].messages[1:3]
    assert str(story.check()) == "nothing"


@pytest.mark.parametrize("said", [0, 3])
def test_an_interrupted_turn_keeps_its_message_and_what_was_said(said: int) -> None:
    story = Story.good()
    story.strategy = Strategy.INTERRUPT
    story.end(1, "cancelled")
    words = "".join(reply.pieces(MODEL, story.calls[1].messages)[:said])
    story.messages[3] |= {"content": words, "status": "cancelled"}
    story.calls[2].messages[4]["content"] = words
    if not said:
        del story.messages[3], story.calls[2].messages[4]
    assert str(story.check()) == "nothing"


def mark_nothing(story: Story) -> None:
    story.messages[3]["status"] = "completed"


def cut_another_text_short(story: Story) -> None:
    story.messages[3]["content"] = "Sophia here"


def lose_the_message_of_a_cancelled_turn(story: Story) -> None:
    del story.messages[2:4]


@pytest.mark.parametrize(
    ("kind", "break_it"),
    [
        ("misanswered", mark_nothing),
        ("misanswered", cut_another_text_short),
        ("lost", lose_the_message_of_a_cancelled_turn),
    ],
)
def test_what_an_interrupted_turn_may_not_leave_is_found(kind: str, break_it: Break) -> None:
    story = Story.good()
    story.strategy = Strategy.INTERRUPT
    story.end(1, "cancelled")
    story.messages[3] |= {"content": "Cherry here", "status": "cancelled"}
    break_it(story)
    assert getattr(story.check(), kind)


def test_a_turn_that_was_rolled_back_leaves_nothing() -> None:
    story = Story.good()
    story.strategy = Strategy.ROLLBACK
    story.end(1, "cancelled")
    kept = story.messages[2:4]
    del story.messages[2:4], story.calls[2].messages[3:5]
    assert str(story.check()) == "nothing"
    for message in kept:
        left = deepcopy(story)
        left.messages.insert(2, message)
        assert left.check().misanswered or left.check().reordered
    assert story.messages
    story.calls[2].messages.insert(1, {"role": "user", "content": "second"})
    assert story.check().reordered, "what was rolled back was remembered"


def test_outside_of_strategies_that_displace_nothing_is_cancelled() -> None:
    story = Story.good()
    story.end(1, "cancelled")
    assert story.check().lost
