"""Settings from the environment or `.env`: each one's name, default, unit and check."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .auth import TokenFileError, parse_tokens
from .crypto import NO_PEPPER, PEPPER_BYTES, Pepper
from .files import read

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class SettingsError(Exception):
    """A setting is missing or wrong. The message names it and never shows a secret."""


class Settings(BaseSettings):
    """Every setting of the server. `DATABASE_…` keep their names; all others begin with `DUMBKV_`."""

    model_config = SettingsConfigDict(
        env_prefix="DUMBKV_",
        env_file=".env",
        extra="ignore",
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    database_type: Literal["sqlite", "postgres"] = Field(default="sqlite", validation_alias="DATABASE_TYPE")
    database_location: SecretStr = Field(
        default=SecretStr("dumbkvstore/dumbkv.db"), validation_alias="DATABASE_LOCATION"
    )
    """A path for sqlite (`:memory:` for tests), a `postgres://` URI for postgres."""
    database_location_file: Path | None = Field(default=None, validation_alias="DATABASE_LOCATION_FILE")

    pepper: SecretStr | None = None
    """Peppers, one a line: `<number 1..255> <64 hex digits>`; the first is written under, all are read.

    A file is followed while the server runs. To rotate, add a new pepper under a new number: as the second
    line first where several servers share a database, until all have it, then as the first. An old one may be
    taken out once `GET /databases` counts no key under it; one that still has keys is asked for.
    """
    pepper_file: Path | None = None
    auth_tokens: SecretStr | None = None
    """Tokens, one a line: `<name> <scope>[,<scope>…] sha256:<64 hex digits>`. Absent: no authentication.

    A file is followed while the server runs.
    """
    auth_tokens_file: Path | None = None
    auth_failure_interval: Seconds = 0.1
    """Seconds between two answers to unknown tokens; the others of them wait. Good tokens never do."""
    max_waiting_auth_failures: Positive = 64
    """Answers to unknown tokens that wait for their turn; more are told to come back later."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"

    max_key_bytes: Positive = 1024
    max_value_bytes: Positive = 1024 * 1024
    max_batch_bytes: Positive = 8 * 1024 * 1024
    """Bytes of the body of one batch, and of the values that it gets."""
    max_bytes_in_work: Positive = 64 * 1024 * 1024
    """Bytes of the bodies of all requests that are being answered; more are told to come back."""
    max_waiting_writes: Positive = 256
    max_requests: Positive = 512
    """Requests that are being answered at once; more are told to come back."""
    max_connections: Positive = 512
    """Connections at once; for one more, the one that waited longest for its client is closed."""
    header_timeout: Seconds = 5
    """Seconds that a request's header may take to arrive."""
    answer_timeout: Seconds = 30
    """Seconds that a client may take nothing of an answer that waits for it."""
    body_timeout: Seconds = 30
    """Seconds that a request's body may take to arrive."""
    statement_timeout: Seconds = 5
    """Seconds after which PostgreSQL gives up on a statement, and the server on a connection."""
    export_timeout: Seconds = 3600
    """Seconds that an export may take: for that long the database keeps what is overwritten."""
    sweep_interval: Seconds = 10
    """Seconds between two looks for rows that expired. They never answer, swept or not."""
    drain_delay: Annotated[float, Field(ge=0)] = 0
    """Seconds between SIGTERM, when /readyz turns to 503, and the end of the listening socket."""

    @model_validator(mode="after")
    def _read_files(self) -> Self:
        if self.database_location_file is not None:
            self.database_location = SecretStr(read(self.database_location_file))
        self.pepper = _secret(self.pepper, self.pepper_file)
        self.auth_tokens = _secret(self.auth_tokens, self.auth_tokens_file)
        if self.auth_tokens is not None:
            try:
                parse_tokens(self.auth_tokens.get_secret_value())
            except TokenFileError as error:
                raise ValueError(f"auth tokens: {error}") from error
        self._check_location(self.database_location)
        if self.max_bytes_in_work < self.max_batch_bytes:
            raise ValueError("DUMBKV_MAX_BYTES_IN_WORK must not be less than DUMBKV_MAX_BATCH_BYTES")
        self.peppers()
        return self

    def _check_location(self, location: SecretStr) -> None:
        is_postgres = location.get_secret_value().startswith(("postgres://", "postgresql://"))
        if self.database_type == "postgres" and not is_postgres:
            raise ValueError("DATABASE_LOCATION must be a postgres:// URI when DATABASE_TYPE is postgres")
        if self.database_type == "sqlite" and "://" in location.get_secret_value():
            raise ValueError("DATABASE_LOCATION is a URI: set DATABASE_TYPE=postgres, or give a path")

    def location(self) -> str:
        """Where the database is, read again from DATABASE_LOCATION_FILE where that is set.

        ValueError where the file cannot be read or holds no location of this type of database.
        """
        location = self.database_location
        if self.database_location_file is not None:
            location = SecretStr(read(self.database_location_file))
            self._check_location(location)
        return location.get_secret_value()

    def tokens(self) -> str | None:
        """The text of the token file, or None where authentication is off."""
        return None if self.auth_tokens is None else self.auth_tokens.get_secret_value()

    def peppers(self) -> tuple[Pepper, ...]:
        """The peppers, newest first; empty where none is set."""
        return () if self.pepper is None else parse_peppers(self.pepper.get_secret_value())


def load() -> Settings:
    """Read the settings; SettingsError with one line for each that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        lines = (_describe(list(item["loc"]), item["msg"]) for item in error.errors(include_input=False))
        raise SettingsError("; ".join(lines)) from None


def _describe(location: list[int | str], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not location:
        return message
    name = str(location[0])
    return f"{name if name.isupper() else 'DUMBKV_' + name.upper()}: {message}"


def _secret(value: SecretStr | None, path: Path | None) -> SecretStr | None:
    return value if path is None else SecretStr(read(path))


def parse_peppers(text: str) -> tuple[Pepper, ...]:
    """Peppers from `<number> <64 hex digits>` lines, newest first; ValueError names the line.

    Number 0 is 'no pepper' and may stand last with 64 zeros, to read what was written without one.
    """
    peppers: list[Pepper] = []
    for line_number, line in enumerate(text.splitlines(), 1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        where = f"pepper file, line {line_number}"
        if len(fields) != 2 or not fields[0].isdecimal() or int(fields[0]) > 255:
            raise ValueError(f"{where}: expected a number from 1 to 255 and 64 hex digits")
        try:
            secret = bytes.fromhex(fields[1])
        except ValueError:
            secret = b""
        if len(secret) != PEPPER_BYTES:
            raise ValueError(f"{where}: a pepper is 64 hex digits (try: openssl rand -hex 32)")
        number = int(fields[0])
        if (number == 0) != (secret == NO_PEPPER):
            raise ValueError(f"{where}: number 0 stands for 'no pepper' and goes with 64 zeros only")
        if any(number == pepper.number for pepper in peppers):
            raise ValueError(f"{where}: number {number} is given twice")
        peppers.append(Pepper(number, secret))
    if not peppers:
        raise ValueError("pepper file: there is none in it; leave the setting out to run without one")
    return tuple(peppers)
