"""Imported terminology."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "imported_release",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("products", sa.Integer(), nullable=False),
        sa.Column("codes", sa.Integer(), nullable=False),
    )
    op.create_table(
        "imported_product",
        sa.Column("system", sa.String(100), primary_key=True),
        sa.Column("code", sa.String(40), primary_key=True),
        sa.Column("drugs", sa.String(500), nullable=False),
        sa.Column("label", sa.String(500), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("imported_product")
    op.drop_table("imported_release")
