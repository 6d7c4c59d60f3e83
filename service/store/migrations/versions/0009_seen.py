"""What cards, overrides and alerts rest on; alerts in somebody's hand; which event of an alert was told. Only adds columns."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TEXTS = {
    "card_shown": {"seen": 32},
    "silence": {"seen": 32, "hook": 60},
    "alert": {"seen": 32, "hand_by": 200, "hand_reason": 500},
}


def upgrade() -> None:
    # Every new column is empty or has a default: a version that does not know it goes on writing. In place: with SQLite the
    # rows that refer to a table made anew go with the old one.
    for name, texts in _TEXTS.items():
        with op.batch_alter_table(name, recreate="never") as table:
            for column, length in texts.items():
                table.add_column(sa.Column(column, sa.String(length), nullable=False, server_default=""))
    with op.batch_alter_table("alert", recreate="never") as table:
        table.add_column(sa.Column("evidence", sa.JSON()))
        table.add_column(sa.Column("hand_until", sa.DateTime(timezone=True)))
    with op.batch_alter_table("outbox", recreate="never") as table:
        table.add_column(sa.Column("event", sa.Integer()))


def downgrade() -> None:
    with op.batch_alter_table("outbox", recreate="never") as table:
        table.drop_column("event")
    with op.batch_alter_table("alert", recreate="never") as table:
        table.drop_column("hand_until")
        table.drop_column("evidence")
    for name, texts in _TEXTS.items():
        with op.batch_alter_table(name, recreate="never") as table:
            for column in texts:
                table.drop_column(column)
