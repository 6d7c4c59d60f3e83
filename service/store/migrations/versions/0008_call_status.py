"""What a call counts as: calls that could not be judged are kept too."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

def upgrade() -> None:
    op.add_column("hook_call", sa.Column("status", sa.Integer(), nullable=False, server_default="200"))


def downgrade() -> None:
    op.drop_column("hook_call", "status")
