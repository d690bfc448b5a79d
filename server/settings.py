"""Settings: environment variables with the prefix MISSIONSTREAM_, overridden by the command line."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from streams.errors import BadRequest

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def default_data_dir() -> Path:
    """`~/.local/share/missionstream`; for root `/var/lib/missionstream`, where PostgreSQL's own user can reach it."""
    if os.geteuid() == 0:
        return Path("/var/lib/missionstream")
    return Path.home() / ".local" / "share" / "missionstream"


class Settings(BaseSettings):
    """Everything that can be set. Secrets show as asterisks wherever settings are printed."""

    model_config = SettingsConfigDict(env_prefix="MISSIONSTREAM_", extra="ignore", populate_by_name=True)

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    data_dir: Path = Field(default_factory=default_data_dir)
    database_url: SecretStr | None = None
    allow_unsafe_database: bool = False

    auth: Literal["on", "off"] = "on"
    password: SecretStr | None = Field(
        None, validation_alias=AliasChoices("MISSIONSTREAM_PASSWORD", "DASHBOARD_PASSWORD")
    )
    jwt_secret: SecretStr | None = Field(None, validation_alias=AliasChoices("MISSIONSTREAM_JWT_SECRET", "JWT_SECRET"))
    jwt_ttl_days: int = Field(30, ge=1, validation_alias=AliasChoices("MISSIONSTREAM_JWT_TTL_DAYS", "JWT_TTL_DAYS"))
    bootstrap_token: SecretStr | None = None
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias=AliasChoices("MISSIONSTREAM_ALLOWED_ORIGINS", "CREWSHIP_ALLOWED_ORIGINS"),
    )

    max_parallel_missions: int = Field(4, ge=1)
    crew_engine: bool = True
    question_seconds: float = Field(3600.0, gt=0)
    space_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    agent_sandbox: Literal["require", "prefer", "off"] = "prefer"
    agent_idle_seconds: float = Field(300.0, ge=0)
    agent_readable: Annotated[tuple[Path, ...], NoDecode] = ()

    retention_days: int | None = Field(None, ge=1)
    flush_gap_ms: float = Field(5.0, ge=0, le=1_000)
    heartbeat_seconds: float = Field(3.0, gt=0, le=4)
    drain_lead_seconds: float = Field(0.5, ge=0)
    drain_seconds: float = Field(8.0, gt=0)
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return _parts(value, ",")

    @field_validator("space_roots", "agent_readable", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        return _parts(value, os.pathsep)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.auth == "off" and self.host not in LOOPBACK:
            raise BadRequest(
                f"MISSIONSTREAM_AUTH=off would open {self.host} to everybody; use --host 127.0.0.1, or turn auth on"
            )
        return self


def _parts(value: object, separator: str) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(separator) if part.strip())
    return value
