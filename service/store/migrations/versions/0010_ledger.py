"""The sums of the ledger of a call: what was given, read, irrelevant, not understood. Only adds a column."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Empty for older calls and for a version that does not know it.
    with op.batch_alter_table("hook_call", recreate="never") as table:
        table.add_column(sa.Column("ledger", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("hook_call", recreate="never") as table:
        table.drop_column("ledger")
