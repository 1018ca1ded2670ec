import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import delete, insert

from core.orchestrator.contracts import ModelInfo, Usage
from core.orchestrator.errors import LLMProviderConnectionError, StorageUnavailableError
from core.orchestrator.models.catalogue import ModelCatalogue
from core.orchestrator.providers.base import LLMProvider
from core.orchestrator.registry import Registry
from core.orchestrator.storage.database import Database, open_database
from core.orchestrator.storage.tables import catalogues
from tests.core.orchestrator.domain import NOON, SettableClock
from tests.core.orchestrator.models.listing_provider import GPT, LLAMA, ListingProvider, Listless

LIFETIME = timedelta(hours=1)
AWAY = LLMProviderConnectionError("nobody is there")


class Shop:
    """Providers, a clock, and any number of processes that keep a catalogue of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = SettableClock()
        self.providers: Registry[LLMProvider] = Registry("provider", LLMProvider)  # type: ignore[type-abstract]

    def offer(self, provider: Any, name: str = "openrouter") -> Any:
        self.providers.register(name, lambda: provider)
        return provider

    def process(self, lifetime: timedelta = LIFETIME) -> ModelCatalogue:
        return ModelCatalogue(self.database, self.providers, lifetime, self.clock)

    async def stocked(self, *models: ModelInfo) -> ModelCatalogue:
        self.offer(ListingProvider(models))
        catalogue = self.process()
        await catalogue.refresh()
        return catalogue


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


@pytest.fixture
async def broken_database(tmp_path: Path) -> AsyncIterator[Database]:
    """A database without tables."""
    database = open_database(tmp_path / "empty.db")
    yield database
    await database.close()


# --- what is known ---


async def test_a_catalogue_that_was_never_fetched_knows_nothing_and_does_not_mind(shop: Shop) -> None:
    shop.offer(ListingProvider([GPT]))
    catalogue = shop.process()
    assert catalogue.find("openrouter", GPT.id) is None
    assert catalogue.estimate("openrouter", GPT.id, Usage(prompt_tokens=1, completion_tokens=1)) is None
    assert catalogue.suggest("openrouter", GPT.id) is None
    assert (catalogue.entries(), catalogue.freshness(), catalogue.is_loaded("openrouter")) == ([], [], False)


async def test_what_a_provider_lists_is_known_under_its_name_alone(shop: Shop) -> None:
    catalogue = await shop.stocked(GPT)
    assert catalogue.find("openrouter", GPT.id) == GPT
    assert catalogue.find("openrouter", "openai/gpt-5") is None
    assert catalogue.find("custom", GPT.id) is None
    assert (catalogue.is_loaded("openrouter"), catalogue.is_loaded("custom")) == (True, False)


async def test_the_models_come_by_provider_and_name(shop: Shop) -> None:
    shop.offer(ListingProvider([GPT, LLAMA]))
    shop.offer(ListingProvider([ModelInfo(id="x"), ModelInfo(id="a")]), "custom")
    catalogue = shop.process()
    await catalogue.refresh()
    assert [(entry.provider, entry.model.id) for entry in catalogue.entries()] == [
        ("custom", "a"),
        ("custom", "x"),
        ("openrouter", LLAMA.id),
        ("openrouter", GPT.id),
    ]


async def test_a_model_with_a_routing_suffix_is_as_long_as_the_model_but_has_a_price_of_its_own(shop: Shop) -> None:
    catalogue = await shop.stocked(GPT)
    fast = catalogue.find("openrouter", f"{GPT.id}:nitro")
    assert fast is not None
    assert (fast.id, fast.context_length, fast.prompt_usd) == (f"{GPT.id}:nitro", GPT.context_length, None)
    assert catalogue.find("openrouter", f"{GPT.id}:free") is None
    assert catalogue.find("openrouter", "openai/gpt-5:nitro") is None


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(prompt_tokens=3, completion_tokens=5), 11.5),
        (Usage(prompt_tokens=0, completion_tokens=0), 0),
        (Usage(prompt_tokens=3), None),
        (Usage(completion_tokens=5), None),
        (Usage(), None),
    ],
)
async def test_an_estimate_is_tokens_times_prices_where_all_are_known(
    shop: Shop, usage: Usage, cost: float | None
) -> None:
    catalogue = await shop.stocked(GPT, LLAMA, ModelInfo(id="odd", prompt_usd=1))
    assert catalogue.estimate("openrouter", GPT.id, usage) == cost
    assert catalogue.estimate("openrouter", LLAMA.id, usage) == (None if cost is None else 0)
    assert catalogue.estimate("openrouter", "odd", usage) is None
    assert catalogue.estimate("openrouter", "openai/gpt-5", usage) is None


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("openai/gpt-4", "openai/gpt-4o"),
        ("gpt-4o", "openai/gpt-4o"),
        ("GPT-4o", "openai/gpt-4o"),
        ("open-ai/gpt4o", "openai/gpt-4o"),
        ("meta/llama", "meta/llama:free"),
        ("something/else-entirely", None),
    ],
)
async def test_the_nearest_name_is_suggested_if_any_is_near(shop: Shop, wrong: str, right: str | None) -> None:
    assert (await shop.stocked(GPT, LLAMA)).suggest("openrouter", wrong) == right


async def test_a_list_too_long_to_be_compared_at_once_suggests_nothing(shop: Shop) -> None:
    many = [ModelInfo(id=f"vendor/{number:0150}") for number in range(1000)]
    assert (await shop.stocked(GPT, *many)).suggest("openrouter", "openai/gpt-4oo") is None


# --- fetching ---


async def test_a_list_is_fetched_again_only_when_it_is_old(shop: Shop) -> None:
    provider = shop.offer(ListingProvider([GPT], [LLAMA]))
    catalogue = shop.process()
    assert await catalogue.refresh() == LIFETIME
    shop.clock.advance(minutes=59)
    assert await catalogue.refresh() == timedelta(minutes=1)
    assert provider.asked == 1
    shop.clock.advance(minutes=1)
    await catalogue.refresh()
    assert provider.asked == 2
    assert [entry.model.id for entry in catalogue.entries()] == [LLAMA.id]


async def test_a_process_that_finds_a_fresh_copy_in_the_store_does_not_fetch(shop: Shop) -> None:
    provider = shop.offer(ListingProvider([GPT], AWAY))
    await shop.process().refresh()
    shop.clock.advance(minutes=30)
    other = shop.process()
    assert await other.refresh() == timedelta(minutes=30)
    assert provider.asked == 1
    assert other.find("openrouter", GPT.id) == GPT


async def test_a_process_takes_over_what_another_has_fetched_since(shop: Shop) -> None:
    provider = shop.offer(ListingProvider([GPT], [LLAMA]))
    first, second = shop.process(), shop.process()
    await first.refresh()
    await second.refresh()
    shop.clock.advance(hours=1)
    await first.refresh()
    await second.refresh()
    assert provider.asked == 2
    assert second.find("openrouter", LLAMA.id) == LLAMA


async def test_an_old_stored_copy_is_used_at_once_while_the_provider_is_asked(shop: Shop) -> None:
    await shop.stocked(GPT)
    shop.clock.advance(days=30)
    provider = shop.offer(ListingProvider(asyncio.Event()))
    catalogue = shop.process()
    async with catalogue.kept_fresh():
        await provider.was_asked.wait()
        assert catalogue.find("openrouter", GPT.id) == GPT
        assert [listed.stale for listed in catalogue.freshness()] == [True]


async def test_a_provider_that_cannot_be_reached_leaves_what_it_listed_last(shop: Shop) -> None:
    shop.offer(ListingProvider([GPT], AWAY))
    catalogue = shop.process()
    await catalogue.refresh()
    shop.clock.advance(hours=1)
    await catalogue.refresh()
    assert catalogue.find("openrouter", GPT.id) == GPT
    [fresh] = catalogue.freshness()
    assert (fresh.provider, fresh.fetched_at, fresh.stale) == ("openrouter", NOON, False)
    shop.clock.advance(minutes=7)
    assert [listed.stale for listed in catalogue.freshness()] == [True]


async def test_a_provider_in_trouble_is_asked_less_and_less_often_and_complained_of_once(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    provider = shop.offer(ListingProvider(*[AWAY] * 9, [GPT], AWAY))
    catalogue = shop.process()
    waits = []
    for _ in range(9):
        waits.append((await catalogue.refresh()).total_seconds())
        assert await catalogue.refresh() == timedelta(seconds=waits[-1])
        shop.clock.advance(seconds=waits[-1])
    assert waits == [15, 30, 60, 120, 240, 480, 900, 900, 900]
    assert provider.asked == 9
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "nobody is there" in caplog.text
    assert await catalogue.refresh() == LIFETIME
    shop.clock.advance(hours=1)
    assert await catalogue.refresh() == timedelta(seconds=15)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


async def test_trouble_is_no_reason_to_ask_more_often_than_in_good_days(shop: Shop) -> None:
    shop.offer(ListingProvider(AWAY))
    assert await shop.process(timedelta(seconds=2)).refresh() == timedelta(seconds=2)


async def test_a_provider_without_a_list_is_left_alone(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.offer(Listless(), "listless")
    empty = shop.offer(ListingProvider([]), "empty")
    catalogue = shop.process()
    for _ in range(3):
        assert await catalogue.refresh() == LIFETIME
    assert (empty.asked, caplog.records) == (1, [])
    assert not catalogue.is_loaded("empty")
    assert not catalogue.is_loaded("listless")


async def test_an_empty_list_does_not_take_the_place_of_a_full_one(shop: Shop) -> None:
    shop.offer(ListingProvider([GPT], []))
    catalogue = shop.process()
    await catalogue.refresh()
    shop.clock.advance(hours=1)
    await catalogue.refresh()
    assert catalogue.find("openrouter", GPT.id) == GPT


class Panic(BaseException):
    """What a library in another language raises."""

    def __str__(self) -> str:
        raise ValueError("not even this works")


class Sealed:
    """A list that breaks when it is read."""

    def __iter__(self) -> Iterator[NoReturn]:
        raise Panic


def breaks() -> NoReturn:
    raise Panic


@pytest.mark.parametrize(
    "answer",
    [
        Panic(),
        SystemExit(1),
        asyncio.CancelledError(),
        GeneratorExit(),
        ValueError("\ud800\n" * 10_000),
        Sealed(),
        {"data": "x"},
        "a list of models",
        7,
        None,
        [None, 7, "gpt", {}, {"id": 7}, {"id": ""}, {"id": "x" * 201}, {"id": "a\nb"}, object()],
    ],
    ids=lambda answer: type(answer).__name__,
)
async def test_whatever_a_provider_does_harms_nobody(shop: Shop, answer: Any) -> None:
    shop.offer(ListingProvider(answer), "hostile")
    shop.offer(ListingProvider([GPT]))
    catalogue = shop.process()
    await catalogue.refresh()
    assert [entry.model for entry in catalogue.entries()] == [GPT]


@pytest.mark.parametrize("factory", [breaks, lambda: None, lambda: 1 / 0])
async def test_a_provider_that_cannot_be_made_harms_nobody(shop: Shop, factory: Callable[[], Any]) -> None:
    shop.providers.register("hostile", factory)
    shop.offer(ListingProvider([GPT]))
    catalogue = shop.process()
    await catalogue.refresh()
    assert catalogue.is_loaded("openrouter")


async def test_what_a_list_claims_is_taken_only_where_it_can_be_true(shop: Shop) -> None:
    shop.offer(
        ListingProvider(
            [
                {"id": "good", "context_length": "8192", "prompt_usd": "0.000001", "completion_usd": 0},
                {"id": "odd", "context_length": -1, "prompt_usd": -1, "completion_usd": float("nan"), "name": 7},
                ModelInfo.model_construct(id="huge", context_length=10**400, prompt_usd="free"),
                {"id": "good", "context_length": 1},
            ]
        )
    )
    catalogue = shop.process()
    await catalogue.refresh()
    again = shop.process()
    await again.refresh()
    for known in (catalogue, again):
        assert [entry.model for entry in known.entries()] == [
            ModelInfo(id="good", context_length=8192, prompt_usd=0.000001, completion_usd=0),
            ModelInfo(id="huge"),
            ModelInfo(id="odd"),
        ]


async def test_a_stored_copy_that_makes_no_sense_is_replaced(shop: Shop) -> None:
    shop.offer(ListingProvider([GPT]))
    for nonsense in ({"models": 7}, {"models": [GPT.model_dump()]}, ["x", None], "x"):
        async with shop.database.write() as connection:
            await connection.execute(delete(catalogues))
            await connection.execute(insert(catalogues).values(provider="openrouter", fetched_at=NOON, models=nonsense))
        catalogue = shop.process()
        await catalogue.refresh()
        assert catalogue.find("openrouter", GPT.id) == GPT


async def test_what_another_address_listed_is_not_taken_for_this_ones(shop: Shop) -> None:
    shop.offer(ListingProvider([GPT], source="https://stand-in"))
    await shop.process().refresh()
    provider = shop.offer(ListingProvider([LLAMA], source="https://real"))
    for _ in range(2):
        catalogue = shop.process()
        await catalogue.refresh()
        assert [entry.model for entry in catalogue.entries()] == [LLAMA]
    assert provider.asked == 1


async def test_an_address_is_not_stored(shop: Shop) -> None:
    shop.offer(ListingProvider([GPT], source="https://ada:secret@host"))
    await shop.process().refresh()
    async with shop.database.read() as connection:
        assert "secret" not in str((await connection.execute(catalogues.select())).all())


async def test_the_stored_list_of_a_provider_that_is_gone_is_not_shown(shop: Shop) -> None:
    shop.offer(ListingProvider([GPT]), "gone")
    await shop.process().refresh()
    shop.providers = Registry("provider", LLMProvider)  # type: ignore[type-abstract]
    catalogue = shop.process()
    await catalogue.refresh()
    assert catalogue.entries() == []


async def test_without_a_store_a_catalogue_works_from_memory(broken_database: Database) -> None:
    shop = Shop(broken_database)
    with pytest.raises(StorageUnavailableError):
        async with broken_database.read() as connection:
            await connection.execute(catalogues.select())
    catalogue = await shop.stocked(GPT)
    assert catalogue.find("openrouter", GPT.id) == GPT


# --- in the background ---


async def test_a_catalogue_is_kept_fresh_while_the_block_runs(shop: Shop) -> None:
    provider = shop.offer(ListingProvider([GPT]))
    catalogue = ModelCatalogue(shop.database, shop.providers, timedelta(milliseconds=50))
    async with catalogue.kept_fresh():
        for _ in range(3):
            provider.was_asked.clear()
            await provider.was_asked.wait()


class Stubborn(ListingProvider):
    """Never answers, and will not be told to end."""

    def __init__(self) -> None:
        super().__init__([])
        self.enough = asyncio.Event()

    async def list_models(self) -> Any:
        self.was_asked.set()
        while not self.enough.is_set():
            try:
                await self.enough.wait()
            except asyncio.CancelledError:
                continue


@pytest.mark.parametrize("kind", [Stubborn, lambda: ListingProvider(asyncio.Event())], ids=["stubborn", "slow"])
async def test_neither_beginning_nor_end_waits_for_a_provider(shop: Shop, kind: Callable[[], ListingProvider]) -> None:
    provider = shop.offer(kind())
    other = shop.offer(ListingProvider([GPT]), "custom")
    catalogue = shop.process()
    before = asyncio.all_tasks()
    async with asyncio.timeout(5):
        async with catalogue.kept_fresh():
            await asyncio.gather(provider.was_asked.wait(), other.was_asked.wait())
    if isinstance(provider, Stubborn):
        provider.enough.set()
    else:
        assert asyncio.all_tasks() <= before
