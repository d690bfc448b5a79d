"""Named SQL: `queries.events.page` is the statement under `-- name: page` in sql/events.sql."""

import re
from functools import cached_property
from pathlib import Path

_NAME = re.compile(r"^-- name: ([a-z_]+)\n((?:--.*\n)*)", re.MULTILINE)


class Sheet:
    """The statements of one file."""

    def __init__(self, path: Path) -> None:
        text = path.read_text()
        heads = list(_NAME.finditer(text))
        ends = [head.start() for head in heads[1:]] + [len(text)]
        self.purposes = {head[1]: head[2].replace("--", "").strip() for head in heads}
        self.statements = {head[1]: text[head.end() : end].strip() for head, end in zip(heads, ends, strict=True)}

    def __getattr__(self, name: str) -> str:
        try:
            return self.statements[name]
        except KeyError:
            raise AttributeError(f"no statement is named {name}") from None


class Queries:
    """All sheets, one for each noun."""

    folder = Path(__file__).parent / "sql"

    @cached_property
    def sheets(self) -> dict[str, Sheet]:
        return {path.stem: Sheet(path) for path in sorted(self.folder.glob("*.sql"))}

    def __getattr__(self, noun: str) -> Sheet:
        try:
            return self.sheets[noun]
        except KeyError:
            raise AttributeError(f"there is no sql/{noun}.sql") from None


queries = Queries()
