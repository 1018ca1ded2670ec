"""How far a client's conversation is the stored one: by examples, and against the plainest way to say it."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.memory.exchanges import Exchange, Reply, exchanges_of, reply_of
from core.orchestrator.memory.matching import StoredTurn, Walk
from tests.core.orchestrator.interactions.talking import talk


def stored(number: int, asked: str, reply: str = "", **fields: bool) -> StoredTurn:
    return StoredTurn(number, f"i{number}", talk(f"u: {asked}"), Reply(reply), **fields)


def walked(said: Sequence[Exchange], *turns: StoredTurn) -> Walk:
    walk = Walk(said)
    for turn in turns:
        if not walk.take(turn):
            break
    return walk


def said(*pairs: tuple[str, str]) -> list[Exchange]:
    return [Exchange(talk(f"u: {asked}"), talk(f"a: {reply}") if reply else []) for asked, reply in pairs]


# --- exchanges ---

words = st.sampled_from(["a", "b", "ab"])
messages = st.lists(
    st.builds(lambda role, text: talk(f"{role}: {text}")[0], st.sampled_from("uat"), words), max_size=12
)


@given(messages)
def test_exchanges_hold_all_messages_in_their_order(sent: list[dict[str, str]]) -> None:
    exchanges = exchanges_of(sent)
    assert [message for one in exchanges for message in (*one.asked, *one.replied)] == sent
    assert all(message["role"] != "assistant" for one in exchanges for message in one.asked)
    assert all(message["role"] == "assistant" for one in exchanges for message in one.replied)
    assert all(one.asked for one in exchanges[1:])
    assert all(one.replied for one in exchanges[:-1])


def test_calls_of_tools_are_the_same_by_name_and_arguments() -> None:
    def calling(arguments: str, name: str = "weather") -> Reply:
        call = {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
        return reply_of([{"role": "assistant", "content": None, "tool_calls": [call]}])

    assert calling('{"a": 1, "b": 2}') == calling('{"b":2,"a":1}')
    assert calling('{"a": 1}') != calling('{"a": 2}')
    assert calling("{}") != calling("{}", "time")
    assert calling(" not json") == calling("not json ")


def test_a_reply_in_two_messages_is_the_same_as_stored_in_two() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    in_two = [
        {"role": "assistant", "content": "Let me see"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    in_one = [{"role": "assistant", "content": "Let me see", "tool_calls": [call]}]
    assert reply_of(in_two) == reply_of(in_one)


# --- walks ---

pairs = st.lists(st.tuples(words, words), max_size=5)


@given(client=pairs, branch=pairs)
def test_what_two_have_in_common_is_their_common_beginning(
    client: list[tuple[str, str]], branch: list[tuple[str, str]]
) -> None:
    walk = walked(said(*client), *(stored(n, *turn) for n, turn in enumerate(branch, 1)))
    same = 0
    while same < min(len(client), len(branch)) and client[same] == branch[same]:
        same += 1
    # Of the last reply a client may have heard only a part.
    heard_in_part = (
        same == len(branch) - 1
        and len(client) > same
        and client[same][0] == branch[same][0]
        and branch[same][1].startswith(client[same][1])
    )
    assert walk.common_turn == same
    assert walk.matched == same + heard_in_part
    assert walk.reaches_end == (walk.matched == len(branch))
    assert walk.has_all == (walk.matched == len(client))
    assert list(walk.left) == said(*client)[walk.matched :]
    assert list(walk.heard) == ([same + 1] if heard_in_part else [])


@given(branch=pairs, unanswered=st.lists(st.tuples(st.integers(0, 5), words), max_size=4))
def test_turns_that_nobody_answered_stand_in_nobodys_way(
    branch: list[tuple[str, str]], unanswered: list[tuple[int, str]]
) -> None:
    turns: list[tuple[str, str]] = [*branch]
    for place, asked in unanswered:
        turns.insert(min(place, len(turns)), (asked, ""))
    walk = walked(said(*branch), *(stored(n, *turn) for n, turn in enumerate(turns, 1)))
    assert walk.has_all
    assert walk.reaches_end
    assert len(walk.passed_over) == len(unanswered)


def test_a_part_of_a_reply_that_was_cut_off_is_heard_wherever_it_stands() -> None:
    cut = stored(1, "Count", "One, two", is_cut=True)
    walk = walked(said(("Count", "One"), ("On", "Three")), cut, stored(2, "On", "Three"), stored(3, "More", "Four"))
    assert walk.common_turn == 2
    assert list(walk.heard) == [1]


def test_a_part_that_was_heard_before_is_known_again() -> None:
    turn = StoredTurn(1, "i1", talk("u: Count"), Reply("One, two"), heard=Reply("One"))
    further = stored(2, "On", "Three")
    assert walked(said(("Count", "One")), turn, further).heard == {}
    assert list(walked(said(("Count", "One, two")), turn, further).heard) == [1]
    assert walked(said(("Count", "One,")), turn, further).matched == 0


def test_nothing_at_all_is_no_part_of_a_reply() -> None:
    assert walked(said(("Count", "")), stored(1, "Count", "One")).matched == 0


def test_a_turn_that_has_not_ended_takes_whatever_its_client_heard() -> None:
    walk = walked(said(("Count", "One")), stored(1, "Count", is_open=True))
    assert [turn.number for turn in walk.interrupted] == [1]
    assert walk.reaches_end
    assert walk.common_turn == 0  # nobody knows yet what it will have said


def test_a_turn_that_has_not_ended_is_not_passed_over() -> None:
    walk = walked(said(("Count", "One")), stored(1, "Count", "One"), stored(2, "On", is_open=True))
    assert walk.has_all
    assert not walk.reaches_end
    assert walk.blocked_by is not None
    assert walk.blocked_by.asks(talk("u: On"))
    assert not walk.blocked_by.asks(talk("u: Off"))
