"""FHIR Subscriptions: what EHRs were asked to tell, and what is to be read because they told. Only adds tables."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "subscription",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("criteria", sa.String(500), nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("former_sha256", sa.String(64), nullable=False),
        sa.Column("former_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_number", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("managed", sa.Boolean(), nullable=False),
        sa.Column("resource_id", sa.String(64), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("trouble", sa.String(300), nullable=False),
        sa.UniqueConstraint("key_sha256", name="uq_subscription_key"),
    )
    op.create_index("ix_subscription_site", "subscription", ["site"])
    op.create_table(
        "to_read",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("what", sa.String(10), nullable=False),
        sa.Column("ref", sa.String(500), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("asks", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("first_asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("site", "what", "ref", name="uq_to_read"),
    )
    op.create_index("ix_to_read_due", "to_read", ["site", "next_try_at", "id"])


def downgrade() -> None:
    op.drop_table("to_read")
    op.drop_table("subscription")
