"""Who did what in the registry; who entered a statement; to which FHIR server a notice was told. Only adds."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TEXTS = {"patient_flag": ("entered_by", 200), "alert_event": ("entered_by", 200), "outbox": ("base_url", 500)}


def upgrade() -> None:
    # Empty in older rows, and in those of a version that does not know them and goes on writing.
    for name, (column, length) in _TEXTS.items():
        with op.batch_alter_table(name, recreate="never") as table:
            table.add_column(sa.Column(column, sa.String(length), nullable=False, server_default=""))
    op.create_table(
        "registry_act",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("act", sa.String(20), nullable=False),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("patient_key", sa.String(64), nullable=False),
        sa.Column("alert", sa.Integer()),
        sa.Column("rows", sa.Integer()),
        sa.Column("status", sa.Integer(), nullable=False),
    )
    op.create_index("ix_registry_act_at", "registry_act", ["at"])
    op.create_index("ix_registry_act_patient_key", "registry_act", ["patient_key"])


def downgrade() -> None:
    op.drop_table("registry_act")
    for name, (column, _) in _TEXTS.items():
        with op.batch_alter_table(name, recreate="never") as table:
            table.drop_column(column)
