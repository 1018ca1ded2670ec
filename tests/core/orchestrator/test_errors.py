import inspect
import re

from core.orchestrator import errors


def tree_of(docstring: str) -> dict[str, str | None]:
    """Read the drawing: each class and the class it hangs on."""
    parents: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in docstring.splitlines():
        drawn = re.match(r"^([│├└─ ]*)([A-Z]\w+Error)\b", line)
        if drawn is None:
            continue
        depth, name = len(drawn[1]), drawn[2]
        while path and path[-1][0] >= depth:
            path.pop()
        parents[name] = path[-1][1] if path else None
        path.append((depth, name))
    return parents


def test_the_tree_drawn_in_the_docstring_is_the_tree_of_the_classes() -> None:
    classes = {
        name: next((base.__name__ for base in cls.__bases__ if base is not Exception), None)
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, Exception)
    }
    assert tree_of(errors.__doc__ or "") == classes


def test_every_provider_error_starts_with_a_posture_that_asks_nobody_twice() -> None:
    error = errors.LLMProviderTimeoutError("too slow")
    assert error.posture == errors.Posture(tries=1, then=errors.NextStep.NEXT_MODEL, retry_after=None)
    assert error.error_type is errors.ErrorType.TIMEOUT
    assert error.may_be_billed is False
