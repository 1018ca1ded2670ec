"""The `llm` library, with personas as extra models; the command itself runs with the examples of `docs/clients.md`."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import llm
import pytest
import yaml

from tests.clients.conftest import Front
from tests.lazily import lazily

openai = lazily("openai")

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # `llm` never closes its connections


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """What was left open goes while nobody minds."""
    yield
    gc.collect(1)


@pytest.fixture
def llm_home(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where `llm` looks for its models and keys."""
    model = {"api_base": front.base_url, "api_key_name": "orchestrator", "supports_tools": True}
    models = [
        {"model_id": "cherry", "model_name": "cherry", **model},
        {"model_id": "stumbling", "model_name": "stumbling", **model},
        {"model_id": "nobody", "model_name": "nobody", **model},
        {"model_id": "known", "model_name": "cherry", **model, "headers": {"X-Conversation-Id": "llm-conversation"}},
        {"model_id": "responding", "model_name": "cherry", **model, "responses": True},
    ]
    (tmp_path / "extra-openai-models.yaml").write_text(yaml.safe_dump(models))
    (tmp_path / "keys.json").write_text(json.dumps({"orchestrator": front.key}))
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("llm_home")
@pytest.mark.parametrize("model_id", ["cherry", "known", "responding"])
async def test_a_conversation_remembers(front: Front, model_id: str) -> None:
    conversation = llm.get_async_model(model_id).conversation()
    first = await conversation.prompt("Hello").text()
    second = await conversation.prompt("And now?").text()
    assert first.startswith("Cherry here (a stand-in for openai/gpt-3.5-turbo speaking)")
    assert 'I remember 2 earlier messages. Before that you said: "Hello"' in second
    if model_id == "known":
        said = await front.transcript("llm-conversation", "anonymous")
        assert said == [("user", "Hello"), ("assistant", first), ("user", "And now?"), ("assistant", second)]


@pytest.mark.usefixtures("llm_home")
async def test_a_reply_comes_in_pieces(front: Front) -> None:
    pieces = await front.in_pieces(piece async for piece in llm.get_async_model("cherry").prompt("Hello"))
    assert len(pieces) > 1
    assert "".join(pieces).endswith("I remember 0 earlier messages.")


@pytest.mark.usefixtures("llm_home")
async def test_a_fallback_before_the_first_word_is_not_seen() -> None:
    text = await llm.get_async_model("stumbling").prompt("Hello").text()
    assert text.startswith("Stumbling here (a stand-in for openai/gpt-4o speaking)")


@pytest.mark.usefixtures("llm_home")
async def test_an_unknown_persona_is_not_found() -> None:
    with pytest.raises(openai.NotFoundError):
        await llm.get_async_model("nobody").prompt("Hello").text()
