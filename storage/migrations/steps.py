"""Runs one SQL file as a migration step."""

from pathlib import Path

from alembic import op

_VERSIONS = Path(__file__).parent / "versions"


def run(name: str) -> None:
    """Execute versions/<name>.sql, which may hold several statements, in the migration's transaction."""
    op.execute("SELECT 1")  # SQLAlchemy begins its transaction with the first statement that it sees itself
    text = (_VERSIONS / f"{name}.sql").read_text()
    op.get_bind().connection.dbapi_connection.run_async(lambda connection: connection.execute(text))  # type: ignore[union-attr]
