"""The log, its projections, identity."""

from storage.migrations.steps import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    run("0001_log_and_identity")
