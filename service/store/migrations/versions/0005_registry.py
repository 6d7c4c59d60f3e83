"""The registry: patients, clinicians' flags, alerts and their history, sweeps, the outbox, silences; cards know hook and policy."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_LIVE = sa.text("state <> 'resolved'")


def upgrade() -> None:
    op.create_table(
        "registered_patient",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("patient_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("enrolled_at", _MOMENT, nullable=False),
        sa.Column("enrolled_by", sa.String(200), nullable=False),
        sa.Column("policy", sa.String(60), nullable=False),
        sa.Column("course_start", sa.Date()),
        sa.Column("stopped_at", sa.Date()),
        sa.Column("last_anc", sa.Float()),
        sa.Column("last_anc_at", _MOMENT),
        sa.Column("interval_days", sa.Integer()),
        sa.Column("next_due", sa.Date()),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("facts_at", _MOMENT, nullable=False),
        sa.Column("refreshed_at", _MOMENT),
        sa.Column("swept_run", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("swept_at", _MOMENT),
        sa.Column("sweeps", sa.Integer(), nullable=False, server_default="0"),
        sa.UniqueConstraint("site", "patient_id", name="uq_registered_patient"),
    )
    op.create_index("ix_registered_patient_due", "registered_patient", ["state", "next_due", "id"])
    op.create_index("ix_registered_patient_site_due", "registered_patient", ["site", "state", "next_due", "id"])
    op.create_index("ix_registered_patient_run", "registered_patient", ["site", "swept_run", "id"])
    op.create_table(
        "patient_flag",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("patient", sa.Integer(), sa.ForeignKey("registered_patient.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("stated_by", sa.String(200), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("text", sa.String(500), nullable=False),
        sa.Column("continue_at", sa.Float()),
        sa.Column("expires", _MOMENT),
        sa.Column("withdrawn_at", _MOMENT),
        sa.Column("withdrawn_by", sa.String(200), nullable=False),
    )
    op.create_index("ix_patient_flag_patient", "patient_flag", ["patient"])
    op.create_table(
        "alert",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("patient", sa.Integer(), sa.ForeignKey("registered_patient.id", ondelete="CASCADE"), nullable=False),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("code", sa.String(100), nullable=False),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("severity_rank", sa.Integer(), nullable=False),
        sa.Column("summary", sa.String(140), nullable=False),
        sa.Column("policy", sa.String(60), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("notified_at", _MOMENT, nullable=False),
        sa.Column("changed_at", _MOMENT, nullable=False),
    )
    op.create_index("ix_alert_patient", "alert", ["patient"])
    op.create_index("ix_alert_list", "alert", ["site", "state", "severity_rank", "id"])
    op.create_index(
        "uq_alert_live", "alert", ["patient", "code", "subject"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE
    )
    op.create_table(
        "alert_event",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("alert", sa.Integer(), sa.ForeignKey("alert.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("what", sa.String(12), nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("summary", sa.String(140), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("note", sa.String(500), nullable=False),
    )
    op.create_index("ix_alert_event_alert", "alert_event", ["alert"])
    op.create_table(
        "sweep_run",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("planned_for", _MOMENT, nullable=False),
        sa.Column("as_of", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT),
        sa.UniqueConstraint("site", "planned_for", name="uq_sweep_run"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("alert", sa.Integer(), sa.ForeignKey("alert.id", ondelete="CASCADE"), nullable=False),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("key", sa.String(100), nullable=False, unique=True),
        sa.Column("channel", sa.String(30), nullable=False),
        sa.Column("action", sa.String(10), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try_at", _MOMENT, nullable=False),
        sa.Column("sent_at", _MOMENT),
        sa.Column("last_error", sa.String(200), nullable=False),
        sa.Column("location", sa.String(300), nullable=False),
    )
    op.create_index("ix_outbox_alert", "outbox", ["alert"])
    op.create_index("ix_outbox_due", "outbox", ["state", "next_try_at", "id"])
    op.create_table(
        "silence",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("site", sa.String(100), nullable=False),
        sa.Column("patient_key", sa.String(64), nullable=False),
        sa.Column("code", sa.String(100), nullable=False),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("severity_rank", sa.Integer(), nullable=False),
        sa.Column("until", _MOMENT, nullable=False),
        sa.Column("card", sa.String(200), nullable=False),
    )
    op.create_index("ix_silence_until", "silence", ["until"])
    secret = op.create_table(
        "service_secret",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.String(100), nullable=False),
    )
    # Patients of calls are kept as keyed hashes only; the key never leaves this database.
    op.bulk_insert(secret, [{"name": "patient-key", "value": secrets.token_hex(32)}])
    with op.batch_alter_table("card_shown") as table:
        table.add_column(sa.Column("hook", sa.String(60), nullable=False, server_default=""))
        table.add_column(sa.Column("policy", sa.String(60), nullable=False, server_default=""))
        table.add_column(sa.Column("user_type", sa.String(60), nullable=False, server_default=""))
        table.add_column(sa.Column("subject", sa.String(300), nullable=False, server_default=""))
        table.add_column(sa.Column("patient_key", sa.String(64), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("card_shown") as table:
        for column in ("hook", "policy", "user_type", "subject", "patient_key"):
            table.drop_column(column)
    for name in ("service_secret", "silence", "outbox", "sweep_run", "alert_event", "alert", "patient_flag", "registered_patient"):
        op.drop_table(name)
