"""Servers as processes for the system tests; each has a data directory of its own and leaves nothing behind."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from storage.embedded import temporary_folder
from tests.storage.embedded_support import copy_of
from tests.system.node import Node


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    top = temporary_folder()
    data = top / "data"
    data.mkdir(mode=0o711)
    try:
        yield data
    finally:
        shutil.rmtree(top)


@pytest.fixture(scope="session")
def prepared() -> Iterator[Path]:
    """A data directory of a server that was started once and stopped: each test gets a copy."""
    with _folder() as folder:
        node = Node(folder)
        try:
            node.start()
        finally:
            node.close()
        yield folder


@pytest.fixture
def new_node(prepared: Path) -> Iterator[Callable[..., Node]]:
    """Makes running servers, with settings as environment variables."""
    with contextlib.ExitStack() as stack:

        def make(environment: Mapping[str, str] = {}) -> Node:
            node = Node(copy_of(prepared, stack.enter_context(_folder())), environment)
            stack.callback(node.close)
            node.start()
            return node

        yield make


@pytest.fixture
def node(new_node: Callable[..., Node]) -> Node:
    """A running server."""
    return new_node()
