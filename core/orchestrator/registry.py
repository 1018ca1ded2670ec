"""Named factories: how providers, agents and formatters are added from outside.

A factory is called once, on first use, and its product lives as long as the registry; a class is a factory.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from core.orchestrator.errors import ConfigurationError, UnknownResourceError

T = TypeVar("T")


class Registry(Generic[T]):
    """Products by name, made on first use."""

    def __init__(self, kind: str, product: type[T]) -> None:
        """`kind` is the word used in errors, `product` the class every factory must deliver."""
        self._kind = kind
        self._product = product
        self._factories: dict[str, Callable[[], T]] = {}
        self._made: dict[str, T] = {}

    def register(self, name: str, factory: Callable[[], T]) -> None:
        """Add a factory; a later one of the same name replaces the earlier.

        Raises:
            ConfigurationError: the name is empty or the factory cannot be called.
        """
        if not name or not callable(factory):
            raise ConfigurationError(f"a {self._kind} needs a name and a factory, got {name!r}, {factory!r}")
        self._factories[name] = factory
        self._made.pop(name, None)

    def names(self) -> list[str]:
        """Return the names in the order of their registration."""
        return list(self._factories)

    def __contains__(self, name: str) -> bool:
        return name in self._factories

    def get(self, name: str) -> T:
        """Return the product of that name.

        Raises:
            UnknownResourceError: nothing of that name is registered.
            ConfigurationError: the factory failed, or made something else.
        """
        if name not in self._made:
            if name not in self._factories:
                raise UnknownResourceError(self._kind, name)
            try:
                made = self._factories[name]()
            except Exception as error:
                raise ConfigurationError(f"{self._kind} '{name}' could not be made: {error}") from error
            if not isinstance(made, self._product):
                raise ConfigurationError(
                    f"{self._kind} '{name}' made a {type(made).__name__}, not a {self._product.__name__}"
                )
            self._made[name] = made
        return self._made[name]

    def made(self) -> list[T]:
        """Return what has been made so far."""
        return list(self._made.values())
