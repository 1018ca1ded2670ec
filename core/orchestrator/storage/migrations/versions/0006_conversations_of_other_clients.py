"""conversations of other clients: what they send beyond a text, branches, and tools that a model wants called"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ADDED = {
    "sessions": (
        ("conversation_id", 128),
        ("forked_from", 128),
        ("forked_at", sa.Integer()),
    ),
    "messages": (("as_sent", sa.JSON()),),
    "prompts": (("parameters", sa.JSON()),),
    "completions": (("tool_calls", sa.JSON()),),
}
"""Columns that may be null; a number stands for a name of that length."""


def upgrade() -> None:
    for table, columns in _ADDED.items():
        for column, kind in columns:
            op.add_column(table, sa.Column(column, _name(kind) if isinstance(kind, int) else kind, nullable=True))
    op.add_column("sessions", sa.Column("resends", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "inputs",
        sa.Column("interaction_id", _name(36), sa.ForeignKey("interactions.interaction_id"), primary_key=True),
        *(sa.Column(name, sa.JSON(), nullable=False) for name in ("messages", "instructions", "parameters", "echo")),
    )
    op.create_index("ix_messages_interaction", "messages", ["interaction_id"])
    _index("ix_sessions_conversation", "sessions", ["conversation_id"], "conversation_id IS NOT NULL")
    _index("ix_interactions_fingerprint", "interactions", ["fingerprint", "interaction_id"], "fingerprint IS NOT NULL")


def downgrade() -> None:
    op.drop_index("ix_messages_interaction", "messages")
    op.drop_index("ix_interactions_fingerprint", "interactions")
    op.drop_index("ix_sessions_conversation", "sessions")
    op.drop_table("inputs")
    op.drop_column("sessions", "resends")
    for table, columns in _ADDED.items():
        for column, _ in columns:
            op.drop_column(table, column)


def _name(length: int) -> sa.String:
    return sa.String(length).with_variant(postgresql.TEXT(collation="C"), "postgresql")


def _index(name: str, table: str, columns: list[str], condition: str) -> None:
    of_these = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=of_these, postgresql_where=of_these)
