"""Which batches of the spool the database has. Only adds a table."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("written_batch", sa.Column("name", sa.String(60), primary_key=True))


def downgrade() -> None:
    op.drop_table("written_batch")
