"""Calls, cards and feedback."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hook_call",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("service", sa.String(100), nullable=False),
        sa.Column("hook", sa.String(60), nullable=False),
        sa.Column("hook_instance", sa.String(200), nullable=False),
        sa.Column("user_reference", sa.String(200), nullable=False),
        sa.Column("policy", sa.String(60), nullable=False),
        sa.Column("milliseconds", sa.Float(), nullable=False),
        sa.Column("resources", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
    )
    op.create_index("ix_hook_call_at", "hook_call", ["at"])
    op.create_index("ix_hook_call_hook_instance", "hook_call", ["hook_instance"])
    op.create_table(
        "card_shown",
        sa.Column("uuid", sa.String(36), primary_key=True),
        sa.Column("hook_instance", sa.String(200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("code", sa.String(100), nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("suggestions", sa.JSON(), nullable=False),
    )
    op.create_index("ix_card_shown_at", "card_shown", ["at"])
    op.create_index("ix_card_shown_code", "card_shown", ["code"])
    op.create_index("ix_card_shown_hook_instance", "card_shown", ["hook_instance"])
    op.create_table(
        "card_feedback",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("service", sa.String(100), nullable=False),
        sa.Column("card", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("outcome_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("suggestions", sa.JSON(), nullable=False),
        sa.Column("reason_system", sa.String(300), nullable=False),
        sa.Column("reason_code", sa.String(100), nullable=False),
        sa.Column("reason_display", sa.String(300), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
    )
    op.create_index("ix_card_feedback_card", "card_feedback", ["card"])
    op.create_index(
        "ix_card_feedback_once", "card_feedback", ["card", "outcome", "outcome_at", "reason_code"], unique=True
    )


def downgrade() -> None:
    op.drop_table("card_feedback")
    op.drop_table("card_shown")
    op.drop_table("hook_call")
