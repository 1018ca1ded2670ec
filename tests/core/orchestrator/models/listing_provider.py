"""A provider that lists what a test wants it to."""

import asyncio
from typing import Any

from core.orchestrator.contracts import ModelInfo
from core.orchestrator.providers.base import LLMProvider
from tests.core.orchestrator.domain import ScriptedProvider

GPT = ModelInfo(
    id="openai/gpt-4o",
    name="GPT-4o",
    context_length=8_000,
    max_completion_tokens=2_000,
    prompt_usd=0.5,
    completion_usd=2,
)
LLAMA = ModelInfo(id="meta/llama:free", prompt_usd=0, completion_usd=0)


class ListingProvider(ScriptedProvider):
    """Gives one answer after the other, the last one again and again; an exception is raised, an event awaited."""

    def __init__(self, *answers: Any, source: str = "") -> None:
        super().__init__()
        self.source = source
        self.answers = list(answers)
        self.asked = 0
        self.was_asked = asyncio.Event()

    @property
    def models_source(self) -> str:
        return self.source

    async def list_models(self) -> Any:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        self.was_asked.set()
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return []
        return answer


class Listless(ScriptedProvider):
    """Has no list."""


assert Listless.list_models is LLMProvider.list_models
