"""A library that logs, and warns, while somebody's call is being made."""

import logging
import warnings

from core.orchestrator.events import InteractionEvent
from core.orchestrator.extensions import subscribe


def _say(_event: InteractionEvent) -> None:
    logging.getLogger("a.library").warning("said by a library")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("warned by a library", stacklevel=1)


subscribe("attempt.started", _say)
subscribe("interaction.created", _say)
