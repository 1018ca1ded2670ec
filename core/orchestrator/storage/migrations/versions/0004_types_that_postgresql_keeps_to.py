"""types that PostgreSQL keeps to: text by its bytes and of any length, and large numbers; nothing changes on SQLite"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NAMES = {
    "sessions": {"session_id": 128, "user_id": 128, "created_at": 32},
    "interactions": {
        "interaction_id": 36,
        "kind": 16,
        "user_id": 128,
        "session_id": 128,
        "status": 16,
        "created_at": 32,
        "ended_at": 32,
        "persona_id": 64,
        "persona_version": 12,
        "agent": 64,
        "error_type": 32,
        "cancelling": 16,
        "offered_at": 32,
        "idempotency_key": 255,
        "fingerprint": 64,
    },
    "messages": {"session_id": 128, "interaction_id": 36, "role": 16, "created_at": 32},
    "prompts": {"interaction_id": 36},
    "attempts": {
        "interaction_id": 36,
        "user_id": 128,
        "persona_id": 64,
        "day": 10,
        "provider": 64,
        "model": 200,
        "status": 16,
        "started_at": 32,
        "error_type": 32,
    },
    "completions": {"interaction_id": 36, "finish_reason": 32},
    "partials": {"interaction_id": 36},
    "reply_events": {"interaction_id": 36, "type": 32},
    "erased_interactions": {"interaction_id": 36, "erased_at": 32},
    "cooldowns": {
        "provider": 64,
        "model": 200,
        "failed_at": 32,
        "cooling_until": 32,
        "error_type": 32,
    },
    "catalogues": {"provider": 64, "fetched_at": 32},
}
"""The columns that names are kept in, and how long they could be before."""
_COUNTS = {
    "prompts": ("max_tokens",),
    "attempts": (
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "first_token_ms",
        "duration_ms",
        "wait_ms",
    ),
    "reply_events": ("position",),
}
_POSITIONS = "reply_events_position_seq"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, names in _NAMES.items():
        _change(
            table,
            *(f'{name} TYPE TEXT COLLATE "C"' for name in names),
            *(f"{count} TYPE BIGINT" for count in _COUNTS.get(table, ())),
        )
    op.execute(f"ALTER SEQUENCE {_POSITIONS} AS BIGINT")


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(f"ALTER SEQUENCE {_POSITIONS} AS INTEGER")
    for table, names in _NAMES.items():
        _change(
            table,
            *(f"{name} TYPE VARCHAR({length}) USING left({name}, {length})" for name, length in names.items()),
            *(f"{count} TYPE INTEGER USING least({count}, 2147483647)" for count in _COUNTS.get(table, ())),
        )


def _change(table: str, *columns: str) -> None:
    op.execute(f"ALTER TABLE {table} " + ", ".join(f"ALTER COLUMN {column}" for column in columns))
