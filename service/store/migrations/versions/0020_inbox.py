"""Results that arrive between visits: what waits to be judged, and which version counts. Only adds tables."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("event_key", sa.String(64), nullable=False),
        sa.Column("patient_id", sa.String(64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("why", sa.String(200), nullable=False),
        sa.UniqueConstraint("site", "event_key", name="uq_inbox"),
    )
    op.create_index("ix_inbox_due", "inbox", ["state", "next_try_at", "id"])
    op.create_index("ix_inbox_patient", "inbox", ["site", "patient_id", "state", "id"])
    op.create_table(
        "pushed_version",
        sa.Column("site", sa.String(100), primary_key=True),
        sa.Column("resource", sa.String(130), primary_key=True),
        sa.Column("patient_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("ix_pushed_version_patient_id", "pushed_version", ["patient_id"])


def downgrade() -> None:
    op.drop_table("pushed_version")
    op.drop_table("inbox")
