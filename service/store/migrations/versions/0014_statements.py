"""What must be done about a patient, and statements with details. Only adds columns and an index."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None

#: Nobody has judged yet; as both databases write it.
_NEVER = "1970-01-01 00:00:00.000000"


def upgrade() -> None:
    with op.batch_alter_table("registered_patient", recreate="never") as table:
        # 9: nothing to be done; the next sweep says what is.
        table.add_column(sa.Column("attention", sa.Integer(), nullable=False, server_default="9"))
        table.add_column(
            sa.Column("attention_since", sa.DateTime(timezone=True), nullable=False, server_default=_NEVER)
        )
    # The order of the worklist; without a due date last.
    due = sa.text("coalesce(next_due, '9999-12-31')")
    op.create_index(
        "ix_registered_patient_attention",
        "registered_patient",
        ["site", "attention", "attention_since", due, "id"],
    )
    with op.batch_alter_table("patient_flag", recreate="never") as table:
        table.add_column(sa.Column("details", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("patient_flag", recreate="never") as table:
        table.drop_column("details")
    op.drop_index("ix_registered_patient_attention", "registered_patient")
    with op.batch_alter_table("registered_patient", recreate="never") as table:
        table.drop_column("attention_since")
        table.drop_column("attention")
