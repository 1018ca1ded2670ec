"""Providers of other people, good and bad, and the one that the documentation prints."""

import asyncio
from contextlib import suppress

from core.orchestrator.extensions import ChatCompletion, LLMProvider, register_llm_provider


class CustomProvider(LLMProvider):
    @property
    def provider_name(self) -> str:
        return "custom_provider"

    async def generate_chat_completion(self, messages, model=None, temperature=0.7, max_tokens=None):
        # Implementation here
        pass


class Text(CustomProvider):
    async def generate_chat_completion(self, messages, model=None, temperature=0.7, max_tokens=None):
        return f"{model} heard: {messages[-1]['content']}"


class Mapping(CustomProvider):
    async def generate_chat_completion(self, messages, model=None, temperature=0.7, max_tokens=None):
        return {"content": f"{model} heard: {messages[-1]['content']}"}


class Completion(CustomProvider):
    async def generate_chat_completion(self, messages, model=None, temperature=0.7, max_tokens=None):
        return ChatCompletion(content=f"{model} heard: {messages[-1]['content']}")


class Broken(CustomProvider):
    async def generate_chat_completion(self, messages, model=None, temperature=0.7, max_tokens=None):
        raise RuntimeError("a defect of its own")


class Stubborn(CustomProvider):
    async def generate_chat_completion(self, messages, model=None, temperature=0.7, max_tokens=None):
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


class Unmakeable(CustomProvider):
    def __init__(self) -> None:
        raise RuntimeError("no such service")


register_llm_provider("custom_provider", CustomProvider)
register_llm_provider("text", Text)
register_llm_provider("mapping", Mapping)
register_llm_provider("completion", Completion)
register_llm_provider("broken", Broken)
register_llm_provider("stubborn", Stubborn)
register_llm_provider("unmakeable", Unmakeable)
