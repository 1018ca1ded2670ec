"""interactions as resources: reply log, idempotency keys, cancellation, erasure"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reply_events",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("interaction_id", sa.String(length=36), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["interaction_id"], ["interactions.interaction_id"]),
        sa.PrimaryKeyConstraint("position"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reply_events_interaction", "reply_events", ["interaction_id", "sequence"], unique=True)
    op.create_table(
        "erased_interactions",
        sa.Column("interaction_id", sa.String(length=36), nullable=False),
        sa.Column("erased_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("interaction_id"),
    )
    op.add_column("sessions", sa.Column("erasing", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("interactions", sa.Column("watched", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("interactions", sa.Column("cancelling", sa.String(length=16), nullable=True))
    op.add_column("interactions", sa.Column("offered_at", sa.String(length=32), nullable=True))
    op.add_column("interactions", sa.Column("idempotency_key", sa.String(length=255), nullable=True))
    op.add_column("interactions", sa.Column("fingerprint", sa.String(length=64), nullable=True))
    op.create_index("ix_interactions_key", "interactions", ["user_id", "idempotency_key"], unique=True)
    op.create_index(
        "ix_interactions_watched",
        "interactions",
        ["ended_at"],
        sqlite_where=sa.text("watched = 1"),
        postgresql_where=sa.text("watched"),
    )
    op.drop_index("ix_interactions_user", "interactions")
    op.create_index("ix_interactions_user", "interactions", ["user_id", "interaction_id"])
    _recreate_open_index("session_id", "turn", "interaction_id")
    _rebuild_attempts(user_id_is_nullable=True, interaction_must_exist=False)


def downgrade() -> None:
    op.execute("DELETE FROM attempts WHERE interaction_id NOT IN (SELECT interaction_id FROM interactions)")
    _rebuild_attempts(user_id_is_nullable=False, interaction_must_exist=True)
    _recreate_open_index("session_id", "turn")
    op.drop_index("ix_interactions_user", "interactions")
    op.create_index("ix_interactions_user", "interactions", ["user_id", "created_at"])
    op.drop_index("ix_interactions_watched", "interactions")
    op.drop_index("ix_interactions_key", "interactions")
    for column in ("fingerprint", "idempotency_key", "offered_at", "cancelling", "watched"):
        op.drop_column("interactions", column)
    op.drop_column("sessions", "erasing")
    op.drop_table("erased_interactions")
    op.drop_table("reply_events")


def _recreate_open_index(*columns: str) -> None:
    still_open = sa.text("ended_at IS NULL")
    op.drop_index("ix_interactions_open", "interactions")
    op.create_index(
        "ix_interactions_open", "interactions", columns, sqlite_where=still_open, postgresql_where=still_open
    )


def _rebuild_attempts(*, user_id_is_nullable: bool, interaction_must_exist: bool) -> None:
    """Make the table anew: SQLite can change neither a constraint nor a column in place."""
    columns: list[sa.Column[Any]] = [
        sa.Column("interaction_id", sa.String(length=36), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=user_id_is_nullable),
        sa.Column("persona_id", sa.String(length=64), nullable=True),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=True),
        sa.Column("started_at", sa.String(length=32), nullable=False),
        sa.Column("upstream_provider", sa.Text(), nullable=True),
        sa.Column("answered_model", sa.Text(), nullable=True),
        sa.Column("error_type", sa.String(length=32), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("generation_id", sa.Text(), nullable=True),
        sa.Column("billable", sa.Boolean(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("total_tokens", sa.Integer(), nullable=True),
        sa.Column("cached_tokens", sa.Integer(), nullable=True),
        sa.Column("reasoning_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("first_token_ms", sa.Integer(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("wait_ms", sa.Integer(), nullable=True),
        sa.Column("estimated_cost_usd", sa.Float(), nullable=True),
    ]
    names = ", ".join(column.name for column in columns)
    existence: list[SchemaItem] = [sa.ForeignKeyConstraint(["interaction_id"], ["interactions.interaction_id"])]
    op.drop_index("ix_attempts_day", "attempts")
    op.rename_table("attempts", "attempts_before")
    op.create_table(
        "attempts",
        *columns,
        *(existence if interaction_must_exist else []),
        sa.PrimaryKeyConstraint("interaction_id", "ordinal"),
    )
    op.execute(f"INSERT INTO attempts ({names}) SELECT {names} FROM attempts_before")  # noqa: S608 - our own names
    op.drop_table("attempts_before")
    op.create_index("ix_attempts_day", "attempts", ["day"])
