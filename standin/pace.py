"""How long things take. Zero by default, so that tests run at full speed; a demonstration sets a human pace."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Pace:
    """Every wait of the stand-in."""

    first_token: timedelta = timedelta(0)
    """From accepting a call to its first token."""
    token: timedelta = timedelta(0)
    """Between two tokens."""
    keep_alive: timedelta = timedelta(milliseconds=500)
    """Between two signs of life while there is no data to send."""
    slow_first_token: timedelta = timedelta(seconds=3)
    """`first_token` of the model `standin/slow`."""
    slow_token: timedelta = timedelta(milliseconds=250)
    """`token` of the model `standin/slow-stream`."""
    generation_record: timedelta = timedelta(milliseconds=100)
    """From the end of a call to its record in `GET /generation`, which answers 404 until then."""
