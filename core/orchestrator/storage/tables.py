"""The schema, as SQLAlchemy Core tables. `migrations/` brings a database to it; nothing here creates anything.

Times are UTC, stored as ISO 8601 text with a fixed number of digits so that they sort as text on every database.
JSON columns hold what is only ever read whole.

The two databases differ in what they make of a type. SQLite takes no notice of a length, and compares text by its
bytes; PostgreSQL refuses what is longer, and compares by the rules of some language, which change with its operating
system. So there `name` is text of any length that is compared by its bytes, as it is in Python.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    and_,
    false,
)
from sqlalchemy.dialects import postgresql


def name(length: int) -> String:
    """Return the type of what is looked up, compared or sorted by; `length` is what it is expected to have at most."""
    return String(length).with_variant(postgresql.TEXT(collation="C"), "postgresql")


def count() -> BigInteger:
    """Return the type of whole numbers that come from outside, or have no end; on SQLite every one has 64 bits."""
    return BigInteger().with_variant(Integer(), "sqlite")


def absent_or_json() -> JSON:
    """Return the type of JSON that may be absent, which is NULL rather than JSON's own null."""
    return JSON(none_as_null=True)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as text such as `2026-01-31T12:00:00.000000+00:00`."""

    impl = name(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write the moment as text.

        Raises:
            ValueError: the moment has no time zone; taking it for local time would be a guess.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read the text as a moment."""
        return None if value is None else datetime.fromisoformat(value)


metadata = MetaData()

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", name(128), primary_key=True),
    Column("user_id", name(128), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("turns", Integer, nullable=False),  # turns opened so far: the last one's number
    Column("erasing", Boolean, nullable=False, default=False, server_default=false()),  # and takes no turn
    # Clients that resend everything may go back and say something else: then the conversation has branches.
    Column("conversation_id", name(128)),  # of a branch: the session it grew from in the end; null for that one itself
    Column("forked_from", name(128)),  # of a branch: the session it left
    Column("forked_at", Integer),  # and after which turn of it; up to there the two say the same
    Column("resends", Boolean, nullable=False, default=False, server_default=false()),  # its client sends all of it
)
Index("ix_sessions_user", sessions.c.user_id, sessions.c.created_at)
Index(
    "ix_sessions_conversation",
    sessions.c.conversation_id,
    sqlite_where=sessions.c.conversation_id.is_not(None),
    postgresql_where=sessions.c.conversation_id.is_not(None),
)

interactions = Table(
    "interactions",
    metadata,
    Column("interaction_id", name(36), primary_key=True),
    Column("kind", name(16), nullable=False),
    Column("user_id", name(128), nullable=False),
    Column("session_id", name(128)),
    Column("turn", Integer),  # the place in the session, from 1; null for a bare completion
    Column("status", name(16), nullable=False),
    Column("request", JSON, nullable=False),  # what was asked, as accepted
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("persona_id", name(64)),
    Column("persona_name", Text),
    Column("persona_version", name(12)),
    Column("agent", name(64)),
    Column("answered_place", Integer),  # the place in the model plan that gave the reply
    Column("reply", Text),
    Column("degraded", Boolean, nullable=False, default=False),
    Column("error_type", name(32)),
    Column("error_detail", Text),
    # Somebody may watch the reply grow: its events are logged, and have not been trimmed yet.
    Column("watched", Boolean, nullable=False, default=False, server_default=false()),
    Column("cancelling", name(16)),  # somebody wants it ended: `cancel`, or `rollback` without a trace
    Column("offered_at", UtcDateTime),  # when its start was last asked for, where that was not at its opening
    Column("idempotency_key", name(255)),
    Column("fingerprint", name(64)),  # of the request that came with the key
    Column("key_name", name(64)),  # of the API key it was asked for with; null without keys
)
Index("ix_interactions_session", interactions.c.session_id, interactions.c.turn, unique=True)
Index(
    # The turns still to end, so that "who comes before me" costs the same in a long conversation as in a short one.
    # It holds the id asked for: else nothing would make a planner prefer it to the index above.
    "ix_interactions_open",
    interactions.c.session_id,
    interactions.c.turn,
    interactions.c.interaction_id,
    sqlite_where=interactions.c.ended_at.is_(None),
    postgresql_where=interactions.c.ended_at.is_(None),
)
Index("ix_interactions_user", interactions.c.user_id, interactions.c.interaction_id)
Index(
    # What begins with an API key, by time.
    "ix_interactions_key_name",
    interactions.c.key_name,
    interactions.c.interaction_id,
    sqlite_where=interactions.c.key_name.is_not(None),
    postgresql_where=interactions.c.key_name.is_not(None),
)
# What a user, or an API key, has open: counted for the limits, whatever the length of its history.
Index(
    "ix_interactions_open_user",
    interactions.c.user_id,
    interactions.c.interaction_id,
    sqlite_where=interactions.c.ended_at.is_(None),
    postgresql_where=interactions.c.ended_at.is_(None),
)
Index(
    "ix_interactions_open_key",
    interactions.c.key_name,
    interactions.c.interaction_id,
    sqlite_where=and_(interactions.c.ended_at.is_(None), interactions.c.key_name.is_not(None)),
    postgresql_where=and_(interactions.c.ended_at.is_(None), interactions.c.key_name.is_not(None)),
)
Index("ix_interactions_key", interactions.c.user_id, interactions.c.idempotency_key, unique=True)
Index(
    # Whether the same request came a moment before.
    "ix_interactions_fingerprint",
    interactions.c.fingerprint,
    interactions.c.interaction_id,
    sqlite_where=interactions.c.fingerprint.is_not(None),
    postgresql_where=interactions.c.fingerprint.is_not(None),
)
Index(
    # The logs still to be trimmed.
    "ix_interactions_watched",
    interactions.c.ended_at,
    sqlite_where=interactions.c.watched,
    postgresql_where=interactions.c.watched,
)

messages = Table(
    "messages",
    metadata,
    Column("session_id", name(128), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("interaction_id", name(36), ForeignKey(interactions.c.interaction_id), nullable=False),
    Column("role", name(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("tokens", Integer, nullable=False),  # estimated
    Column("in_memory", Boolean, nullable=False),  # false: shown in the transcript, part of no prompt
    Column("created_at", UtcDateTime, nullable=False),
    # The chat messages it stands for, where these are more than one role and one text: parts, tools, several at once.
    Column("as_sent", absent_or_json()),
)

# What erasing an interaction looks for, and the database itself when one goes that a message refers to.
Index("ix_messages_interaction", messages.c.interaction_id)

inputs = Table(
    "inputs",
    metadata,
    # What came with a message beyond its text, by way of the API that OpenAI's clients speak.
    Column("interaction_id", name(36), ForeignKey(interactions.c.interaction_id), primary_key=True),
    Column(
        "messages", JSON, nullable=False
    ),  # as sent, the newest last; those before it only where no session has them
    Column("instructions", JSON, nullable=False),  # system and developer messages, which count for this turn alone
    Column("parameters", JSON, nullable=False),  # how the model is to answer, beside temperature and length
    Column("echo", JSON, nullable=False),  # what the client wants to find in the answer again
)

prompts = Table(
    "prompts",
    metadata,
    Column("interaction_id", name(36), ForeignKey(interactions.c.interaction_id), primary_key=True),
    Column("messages", JSON, nullable=False),  # exactly what is sent
    Column("temperature", Float, nullable=False),
    Column("max_tokens", count()),
    Column("explanation", JSON, nullable=False),  # why the prompt and the plan are as they are
    Column("parameters", absent_or_json()),  # how the model is to answer, beside the two above
)

attempts = Table(
    "attempts",
    metadata,
    # No foreign key: what was used stays, as numbers, when its interaction is erased.
    Column("interaction_id", name(36), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("user_id", name(128)),  # null once the user is erased
    Column("persona_id", name(64)),
    Column("day", name(10), nullable=False),  # UTC, YYYY-MM-DD: what usage is summed by
    Column("provider", name(64), nullable=False),
    Column("model", name(200), nullable=False),
    Column("status", name(16)),  # null while the call runs
    Column("started_at", UtcDateTime, nullable=False),
    Column("upstream_provider", Text),
    Column("answered_model", Text),
    Column("error_type", name(32)),
    Column("http_status", Integer),
    Column("error_code", Text),
    Column("detail", Text),
    Column("generation_id", Text),
    Column("billable", Boolean, nullable=False),  # false: nothing was generated, so nothing is owed
    Column("prompt_tokens", count()),
    Column("completion_tokens", count()),
    Column("total_tokens", count()),
    Column("cached_tokens", count()),
    Column("reasoning_tokens", count()),
    Column("cost_usd", Float),
    Column("estimated_cost_usd", Float),  # by list prices, where the provider did not tell
    Column("first_token_ms", count()),
    Column("duration_ms", count()),
    Column("wait_ms", count()),
)
Index("ix_attempts_day", attempts.c.day)

completions = Table(
    "completions",
    metadata,
    # A finished text, kept under its place in the plan so that a retry returns it instead of paying again.
    Column("interaction_id", name(36), ForeignKey(interactions.c.interaction_id), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("finish_reason", name(32)),
    Column("tool_calls", absent_or_json()),
)

partials = Table(
    "partials",
    metadata,
    # What a call had said when it broke or was cancelled: kept, continued or shown, as the interaction wants it.
    Column("interaction_id", name(36), ForeignKey(interactions.c.interaction_id), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("text", Text, nullable=False),
)

WAKE = "wake"
"""The type of a row that is no event: it wakes the call that runs for an interaction, wherever that is."""

reply_events = Table(
    "reply_events",
    metadata,
    # The reply log: what a client may watch. A view of what other tables hold, trimmed after a while.
    Column("position", count(), primary_key=True),  # in order of commit on SQLite; never used again
    Column("interaction_id", name(36), ForeignKey(interactions.c.interaction_id), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("type", name(32), nullable=False),
    Column("data", JSON, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_reply_events_interaction", reply_events.c.interaction_id, reply_events.c.sequence, unique=True)

erased_interactions = Table(
    "erased_interactions",
    metadata,
    # Ids alone: a step that was under way while its interaction was erased must not bring it back.
    Column("interaction_id", name(36), primary_key=True),
    Column("erased_at", UtcDateTime, nullable=False),
)

cooldowns = Table(
    "cooldowns",
    metadata,
    # Models that failed of late: one row each, gone with the next success.
    Column("provider", name(64), primary_key=True),
    Column("model", name(200), primary_key=True),
    Column("failures", Integer, nullable=False),  # interactions in a row whose tries it used up
    Column("failed_at", UtcDateTime, nullable=False),
    Column("cooling_until", UtcDateTime),  # null while it has not failed often enough
    Column("error_type", name(32), nullable=False),
    Column("detail", Text, nullable=False),
)

catalogues = Table(
    "catalogues",
    metadata,
    # The models each provider listed last: what is known while the provider does not answer.
    Column("provider", name(64), primary_key=True),
    Column("fetched_at", UtcDateTime, nullable=False),
    Column("models", JSON, nullable=False),
)
