import pytest

from core.orchestrator.errors import ConfigurationError, UnknownResourceError
from core.orchestrator.registry import Registry


class Product:
    """What a factory delivers."""


@pytest.fixture
def registry() -> Registry[Product]:
    return Registry("product", Product)


def test_a_product_is_made_once_and_on_first_use(registry: Registry[Product]) -> None:
    made: list[Product] = []

    def factory() -> Product:
        made.append(Product())
        return made[-1]

    registry.register("one", factory)
    assert (made, registry.made()) == ([], [])
    assert registry.get("one") is registry.get("one")
    assert registry.made() == made
    assert len(made) == 1


def test_names_come_in_the_order_of_registration(registry: Registry[Product]) -> None:
    for name in ("b", "a", "c", "b"):
        registry.register(name, Product)
    assert registry.names() == ["b", "a", "c"]
    assert "a" in registry
    assert "z" not in registry


def test_a_later_factory_replaces_an_earlier_one_and_its_product(registry: Registry[Product]) -> None:
    class Better(Product):
        pass

    registry.register("one", Product)
    first = registry.get("one")
    registry.register("one", Better)
    assert registry.get("one") is not first
    assert isinstance(registry.get("one"), Better)


def test_an_unknown_name_is_named_with_its_kind(registry: Registry[Product]) -> None:
    with pytest.raises(UnknownResourceError, match="unknown product 'one'"):
        registry.get("one")


@pytest.mark.parametrize(("name", "factory"), [("", Product), ("one", None), ("one", Product())])
def test_a_name_and_a_factory_are_needed(registry: Registry[Product], name: str, factory: object) -> None:
    with pytest.raises(ConfigurationError, match="product"):
        registry.register(name, factory)  # type: ignore[arg-type]
    assert registry.names() == []


def test_a_factory_that_fails_is_named_and_tried_again(registry: Registry[Product]) -> None:
    outcomes: list[Product | Exception] = [OSError("no licence"), Product()]

    def factory() -> Product:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    registry.register("one", factory)
    with pytest.raises(ConfigurationError, match="'one' could not be made: no licence"):
        registry.get("one")
    assert isinstance(registry.get("one"), Product)


def test_a_factory_that_makes_something_else_is_named(registry: Registry[Product]) -> None:
    registry.register("one", lambda: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigurationError, match="'one' made a NoneType, not a Product"):
        registry.get("one")
