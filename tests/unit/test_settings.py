"""Settings: the names of their environment variables, and what is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.agents.profiles import default_backend
from server.settings import Settings
from streams.errors import BadRequest


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHBOARD_PASSWORD", "JWT_SECRET", "JWT_TTL_DAYS", "CREWSHIP_ALLOWED_ORIGINS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PASSWORD", "JWT_SECRET", "JWT_TTL_DAYS", "ALLOWED_ORIGINS", "AUTH", "HOST", "SPACE_ROOTS"):
        monkeypatch.delenv(f"MISSIONSTREAM_{name}", raising=False)


NAMES = [
    ("MISSIONSTREAM_HOST", "::1", "host", "::1"),
    ("MISSIONSTREAM_PORT", "0", "port", 0),
    ("MISSIONSTREAM_DATA_DIR", "/srv/m", "data_dir", Path("/srv/m")),
    ("MISSIONSTREAM_ALLOW_UNSAFE_DATABASE", "true", "allow_unsafe_database", True),
    ("MISSIONSTREAM_AUTH", "off", "auth", "off"),
    ("MISSIONSTREAM_JWT_TTL_DAYS", "7", "jwt_ttl_days", 7),
    ("JWT_TTL_DAYS", "8", "jwt_ttl_days", 8),
    ("MISSIONSTREAM_ALLOWED_ORIGINS", "https://a.example, https://b.example", "allowed_origins",
     ("https://a.example", "https://b.example")),
    ("CREWSHIP_ALLOWED_ORIGINS", "https://c.example", "allowed_origins", ("https://c.example",)),
    ("MISSIONSTREAM_MAX_PARALLEL_MISSIONS", "9", "max_parallel_missions", 9),
    ("MISSIONSTREAM_SPACE_ROOTS", "/a:/b", "space_roots", (Path("/a"), Path("/b"))),
    ("MISSIONSTREAM_AGENT_SANDBOX", "require", "agent_sandbox", "require"),
    ("MISSIONSTREAM_AGENT_IDLE_SECONDS", "0", "agent_idle_seconds", 0),
    ("MISSIONSTREAM_AGENT_READABLE", "/opt/a:/opt/b", "agent_readable", (Path("/opt/a"), Path("/opt/b"))),
    ("MISSIONSTREAM_HEARTBEAT_SECONDS", "2.5", "heartbeat_seconds", 2.5),
    ("MISSIONSTREAM_FLUSH_GAP_MS", "0", "flush_gap_ms", 0),
    ("MISSIONSTREAM_DRAIN_SECONDS", "1", "drain_seconds", 1),
    ("MISSIONSTREAM_LOG_FORMAT", "json", "log_format", "json"),
    ("MISSIONSTREAM_LOG_LEVEL", "debug", "log_level", "debug"),
]  # fmt: skip
SECRETS = [
    ("MISSIONSTREAM_PASSWORD", "password"),
    ("DASHBOARD_PASSWORD", "password"),
    ("MISSIONSTREAM_JWT_SECRET", "jwt_secret"),
    ("JWT_SECRET", "jwt_secret"),
    ("MISSIONSTREAM_BOOTSTRAP_TOKEN", "bootstrap_token"),
    ("MISSIONSTREAM_DATABASE_URL", "database_url"),
]


@pytest.mark.parametrize(("variable", "text", "field", "value"), NAMES, ids=[row[0] for row in NAMES])
def test_a_variable_sets_its_field(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, value: object
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(Settings(), field) == value


@pytest.mark.parametrize(("variable", "field"), SECRETS, ids=[row[0] for row in SECRETS])
def test_a_secret_is_read_and_never_printed(monkeypatch: pytest.MonkeyPatch, variable: str, field: str) -> None:
    monkeypatch.setenv(variable, "hunter2-hunter2")
    settings = Settings()
    assert getattr(settings, field).get_secret_value() == "hunter2-hunter2"
    assert "hunter2" not in f"{settings!r} {settings!s} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    "name",
    ["PASSWORD", "ALLOWED_ORIGINS", "HOST", "AUTH", "DATA_DIR"],
)
def test_a_variable_of_somebody_else_sets_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = Settings()
    monkeypatch.setenv(name, "1")
    assert Settings() == before


def test_our_own_name_wins_over_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHBOARD_PASSWORD", "theirs")
    monkeypatch.setenv("MISSIONSTREAM_PASSWORD", "ours")
    password = Settings().password
    assert password is not None
    assert password.get_secret_value() == "ours"


@pytest.mark.parametrize("name", ["DEFAULT_BACKEND", "MISSIONSTREAM_DEFAULT_BACKEND"])
def test_the_default_backend_has_its_originals_name_too(name: str) -> None:
    assert default_backend({name: " codex "}) == "codex"
    with pytest.raises(BadRequest, match="Unknown backend: nobody"):
        default_backend({name: "nobody"})


def test_without_a_configured_or_installed_backend_the_demo_agent_is_the_default() -> None:
    assert default_backend({"PATH": "/nonexistent"}) == "demo"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_no_authentication_is_refused_on_a_host_that_others_reach(host: str) -> None:
    with pytest.raises(BadRequest, match="MISSIONSTREAM_AUTH=off"):
        Settings(auth="off", host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_no_authentication_is_accepted_on_loopback(host: str) -> None:
    assert Settings(auth="off", host=host).auth == "off"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 65_536),
        ("port", -1),
        ("heartbeat_seconds", 0),
        ("heartbeat_seconds", 4.5),
        ("max_parallel_missions", 0),
        ("jwt_ttl_days", 0),
        ("auth", "maybe"),
        ("log_level", "loud"),
        ("drain_seconds", 0),
    ],
)
def test_a_value_out_of_bounds_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Settings(**{field: value})  # type: ignore[arg-type]
