"""limits: which API key an interaction was asked for with, and what is open of a user or a key"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OPEN = "ended_at IS NULL"
_WITH_KEY = "key_name IS NOT NULL"


def upgrade() -> None:
    name = sa.String(64).with_variant(postgresql.TEXT(collation="C"), "postgresql")
    op.add_column("interactions", sa.Column("key_name", name, nullable=True))
    _index("ix_interactions_key_name", "key_name", _WITH_KEY)
    _index("ix_interactions_open_user", "user_id", _OPEN)
    _index("ix_interactions_open_key", "key_name", f"{_OPEN} AND {_WITH_KEY}")


def downgrade() -> None:
    for name in ("ix_interactions_open_key", "ix_interactions_open_user", "ix_interactions_key_name"):
        op.drop_index(name, "interactions")
    op.drop_column("interactions", "key_name")


def _index(name: str, column: str, condition: str) -> None:
    of_these = sa.text(condition)
    op.create_index(name, "interactions", [column, "interaction_id"], sqlite_where=of_these, postgresql_where=of_these)
