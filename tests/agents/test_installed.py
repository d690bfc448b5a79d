"""What can be told of a backend without starting it."""

from importlib.metadata import version
from pathlib import Path

import pytest

from server.agents.installed import installed
from streams.errors import BadRequest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A program as npm installs it globally: a link in bin to a file deep in its package."""
    home = tmp_path / "lib" / "node_modules" / "@google" / "gemini-cli"
    (home / "dist").mkdir(parents=True)
    (home / "dist" / "index.js").write_text("#!/bin/sh\n")
    (home / "dist" / "index.js").chmod(0o755)
    (home / "package.json").write_text(
        '{"name": "@google/gemini-cli", "version": "0.61.0", "engines": {"node": ">=20"}}'
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gemini").symlink_to(home / "dist" / "index.js")
    return home


def test_the_version_is_that_of_the_package_behind_the_program(tmp_path: Path, package: Path) -> None:
    found = installed("gemini", {"PATH": str(tmp_path / "bin")})
    assert (found.program, found.version, found.node) == (str(tmp_path / "bin" / "gemini"), "0.61.0", ">=20")


@pytest.mark.parametrize(
    "manifest", ["", "not json", "[]", '{"version": 5}', '{"name": "x"}', "\udcff", '{"type": "module"}']
)
def test_a_manifest_that_says_nothing_leaves_the_version_open(tmp_path: Path, package: Path, manifest: str) -> None:
    (package / "package.json").write_text(manifest, errors="surrogateescape")
    assert installed("gemini", {"PATH": str(tmp_path / "bin")}).version is None


def test_what_is_not_installed_has_neither_program_nor_version(tmp_path: Path) -> None:
    found = installed("gemini", {"PATH": str(tmp_path)})
    assert (found.program, found.version, found.has_key) == (None, None, False)


def test_any_of_its_keys_is_enough_and_none_is_shown(tmp_path: Path) -> None:
    found = installed("gemini", {"PATH": str(tmp_path), "GOOGLE_API_KEY": "sk-secret"})
    assert found.has_key
    assert found.keys == ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    assert "sk-secret" not in str(found)
    assert not installed("gemini", {"GOOGLE_API_KEY": " "}).has_key
    assert not installed("gemini", {"OPENAI_API_KEY": "sk-secret"}).has_key


def test_the_demo_agent_needs_no_key_and_has_the_servers_version() -> None:
    found = installed("demo", {})
    assert (found.version, found.has_key, found.keys) == (version("missionstream"), True, ())


def test_an_unknown_one_is_refused() -> None:
    with pytest.raises(BadRequest, match="Unknown backend: amp"):
        installed("amp", {})
