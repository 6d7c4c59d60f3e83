"""EHRs added on the command line; feedback belongs to the site that sent it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ONCE = ["card", "outcome", "outcome_at", "reason_code"]


def upgrade() -> None:
    op.create_table(
        "ehr_site",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
    )
    with op.batch_alter_table("card_feedback") as table:
        table.add_column(sa.Column("site", sa.String(100), nullable=False, server_default=""))
    # Feedback from before there were several sites belongs to the site that was shown the card.
    op.execute(
        "UPDATE card_feedback SET site = COALESCE("
        "(SELECT card_shown.site FROM card_shown WHERE card_shown.uuid = card_feedback.card), 'default')"
    )
    op.drop_index("ix_card_feedback_once", "card_feedback")
    op.create_index("ix_card_feedback_once", "card_feedback", ["site", *_ONCE], unique=True)


def downgrade() -> None:
    op.drop_index("ix_card_feedback_once", "card_feedback")
    op.create_index("ix_card_feedback_once", "card_feedback", _ONCE, unique=True)
    with op.batch_alter_table("card_feedback") as table:
        table.drop_column("site")
    op.drop_table("ehr_site")
