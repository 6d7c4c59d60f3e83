"""When a patient was last read whole: what the EHR deleted shows only then."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

def upgrade() -> None:
    # In place: with SQLite the rows that refer to a table made anew go with the old one.
    with op.batch_alter_table("registered_patient", recreate="never") as table:
        table.add_column(sa.Column("read_whole_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    # In place: with SQLite the rows that refer to a table made anew go with the old one.
    with op.batch_alter_table("registered_patient", recreate="never") as table:
        table.drop_column("read_whole_at")
