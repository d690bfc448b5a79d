"""Plain tables and times for people."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich import box
from rich.table import Table
from rich.text import Text


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table without frames; cells are never cut, so that they can be copied."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text("–" if cell is None or cell == "" else str(cell)) for cell in row))
    return made


def moment(at: datetime | None) -> str:
    """A time of day in the reader's own zone, to the second; empty for none."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""
