"""What a program needs to be readable: its own folder, the package it came in, the interpreter it names."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_MAX_LINKS = 40
_SIBLINGS = ("lib", "lib64", "libexec", "pyvenv.cfg")


def folders_of(program: str, path: str) -> list[Path]:
    """The folders (and single files) without which a program, looked up on `path`, could not run.

    They are those of every link on the way to it: its folder; beside a folder `bin`, the libraries of the same
    prefix; the outermost `node_modules` that it lies in; and the same for the interpreter in its first line.
    """
    return list(dict.fromkeys(_needed(program, path, set())))


def _needed(program: str, path: str, seen: set[Path]) -> Iterator[Path]:
    found = shutil.which(program, path=path)
    if found is None:
        return
    for file in _links(Path(found).absolute()):
        if file in seen:
            return
        seen.add(file)
        yield from _around(file)
    interpreter = _interpreter(Path(found))
    if interpreter is not None:
        yield from _needed(interpreter, path, seen)


def _links(file: Path) -> Iterator[Path]:
    """The path as it is written, then each that a link makes of it, to the real one."""
    for _ in range(_MAX_LINKS):
        yield file
        if not file.is_symlink():
            break
        # the folder may be reached by a link as well: what follows is seen from the real one
        file = Path(os.path.normpath(file.parent.resolve() / file.readlink()))
    if (real := file.resolve()) != file:
        yield real


def _around(file: Path) -> Iterator[Path]:
    parts = file.parts
    if "node_modules" in parts:
        yield Path(*parts[: parts.index("node_modules") + 1])
    elif file.parent.name == "bin":
        yield file.parent
        yield from (beside for name in _SIBLINGS if (beside := file.parent.parent / name).exists())
    else:
        yield file if _is_shared(file.parent) else file.parent


def _is_shared(folder: Path) -> bool:
    """Whether more than one program's files lie there, as in a person's home."""
    return len(folder.parts) <= 2 or folder.parent == Path("/home") or folder == Path.home()


def _interpreter(file: Path) -> str | None:
    """The program that the kernel starts for a script; behind env(1) the one that env looks up."""
    try:
        with file.open("rb") as opened:
            head = opened.read(256)
    except OSError:
        return None
    if not head.startswith(b"#!"):
        return None
    words = head[2:].splitlines()[0].decode(errors="replace").split()
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else None
