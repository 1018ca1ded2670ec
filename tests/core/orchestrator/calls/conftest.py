import pytest

from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.storage.database import Database
from tests.core.orchestrator.calls.line import Line
from tests.core.orchestrator.domain import PROMPT, FlakyLedger, opened


@pytest.fixture
async def line(database: Database, store: InteractionStore) -> Line:
    interaction_id = await opened(store)
    await store.save_prompt(interaction_id, PROMPT, {})
    return Line(store, FlakyLedger(database), interaction_id)
