"""What a fault is: a short scenario written against `Answer`, whose docstring is its description."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from standin.answer import Answer

Behaviour = Callable[[Answer], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to answer."""

    description: str
    behave: Behaviour


class Table(dict[str, Fault]):
    """Faults by name; a decorator enters them."""

    def __call__(self, name: str) -> Callable[[Behaviour], Behaviour]:
        """Enter a scenario under a name."""

        def enter(behave: Behaviour) -> Behaviour:
            self[name] = Fault((behave.__doc__ or "").strip(), behave)
            return behave

        return enter
