"""`langchain-openai`: a persona as a chat model, in chains that keep their history and in those that leave it to us."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.clients.conftest import FALLBACK, MODEL, Front
from tests.clients.words import calls
from tests.lazily import lazily

openai, langchain, messages, tools = map(
    lazily, ("openai", "langchain_openai", "langchain_core.messages", "langchain_core.tools")
)
NewModel = Callable[..., Any]


@pytest.fixture
async def model_of(front: Front) -> AsyncIterator[NewModel]:
    """Makes models whose connections are closed after the test: LangChain itself never does."""
    async with openai.DefaultAsyncHttpxClient() as http:

        def new(persona: str = "cherry", **options: Any) -> Any:
            return langchain.ChatOpenAI(
                model=persona,
                base_url=front.base_url,
                api_key=front.key,
                http_async_client=http,
                max_retries=0,
                **options,
            )

        yield new


def weather(place: str) -> str:
    """The weather at a place."""
    return f"It pours in {place}."


@pytest.mark.parametrize("with_responses", [False, True], ids=["chat", "responses"])
async def test_a_persona_answers(model_of: NewModel, *, with_responses: bool) -> None:
    answer = await model_of(use_responses_api=with_responses).ainvoke("Hello")
    assert answer.text.startswith("Cherry here (a stand-in for openai/gpt-3.5-turbo speaking)")
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] > 0


@pytest.mark.parametrize("with_responses", [False, True], ids=["chat", "responses"])
async def test_a_reply_comes_in_pieces(front: Front, model_of: NewModel, *, with_responses: bool) -> None:
    stream = model_of(use_responses_api=with_responses).astream("Hello")
    pieces = await front.in_pieces(piece.text async for piece in stream)
    assert len(pieces) > 1
    assert "".join(pieces).endswith("I remember 0 earlier messages.")


@pytest.mark.parametrize("resends", [True, False], ids=["resends all", "sends what is new"])
async def test_a_conversation_remembers(front: Front, model_of: NewModel, *, resends: bool) -> None:
    name = f"langchain-{resends}"
    model = model_of(default_headers={"X-Conversation-Id": name}, model_kwargs={"user": name})
    told: list[Any] = []
    for words in ("Hello", "And now?"):
        asked = messages.HumanMessage(words)
        answer = await model.ainvoke([*told, asked] if resends else [asked])
        told += [asked, answer]
    assert 'I remember 2 earlier messages. Before that you said: "Hello"' in told[-1].text
    said = await front.transcript(name, name)
    assert [words for _, words in said] == [message.text for message in told]


async def test_responses_are_followed_by_their_ids(model_of: NewModel) -> None:
    model = model_of(use_responses_api=True, use_previous_response_id=True)
    first = await model.ainvoke("Hello")
    second = await model.ainvoke([messages.HumanMessage("Hello"), first, messages.HumanMessage("And now?")])
    assert "I remember 2 earlier messages" in second.text


async def test_a_tool_is_called_and_its_result_answered(front: Front, model_of: NewModel) -> None:
    front.standin.script(MODEL, calls("weather", {"place": "Rome"}))
    tool = tools.tool(weather)
    model = model_of().bind_tools([tool])
    question = messages.HumanMessage("Is it raining in Rome?")
    asked = await model.ainvoke([question])
    assert isinstance(asked, messages.AIMessage)
    (call,) = asked.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"place": "Rome"})
    result = await tool.ainvoke(call)
    assert isinstance(result, messages.ToolMessage)
    answer = await model.ainvoke([question, asked, result])
    assert answer.text
    sent = front.standin.ledger.calls[-1].messages
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool"]
    assert sent[-1]["content"] == "It pours in Rome."


async def test_a_fallback_before_the_first_word_is_not_seen(model_of: NewModel) -> None:
    pieces = [piece.text async for piece in model_of("stumbling").astream("Hello")]
    assert "".join(pieces).startswith("Stumbling here (a stand-in for openai/gpt-4o speaking)")


async def test_an_unknown_persona_is_not_found(model_of: NewModel) -> None:
    with pytest.raises(openai.NotFoundError):
        await model_of("nobody").ainvoke("Hello")


async def test_a_stream_that_breaks_raises(front: Front, model_of: NewModel) -> None:
    async def watch() -> None:
        async for piece in model_of("breaking").astream("Hello"):
            if piece.text:
                front.standin.release()

    with pytest.raises(openai.APIError):
        await watch()
    await front.until_spoken(FALLBACK)
