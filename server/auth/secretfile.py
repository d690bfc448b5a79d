"""Secrets in files of mode 0600 that appear complete or not at all."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Secret(NamedTuple):
    """The file's content; `is_new` when this call has made it."""

    text: str
    is_new: bool


def ensure(path: Path, make: Callable[[], str]) -> Secret:
    """The secret in the file, made first when there is none. Of processes that race, all get the same one.

    Raises OSError, also for a file that is empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    found = read(path)
    if found is not None:
        return Secret(found, is_new=False)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    text = make()
    try:
        _write(draft, text)
        os.link(draft, path)  # unlike a rename, this fails when somebody was quicker
        _sync_folder(path.parent)
    except FileExistsError:
        found = read(path)
        return Secret(found, is_new=False) if found is not None else ensure(path, make)
    finally:
        draft.unlink(missing_ok=True)
    return Secret(text, is_new=True)


def read(path: Path) -> str | None:
    """The secret in the file, None when there is no file."""
    try:
        text = path.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    if not text:
        raise OSError(f"{path} is empty; restore it from a backup, or remove it to have a new one made")
    return text


def _write(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
