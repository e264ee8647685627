"""Bearer tokens from a file of hashes, with scopes; followed as the file changes."""

import hmac
import logging
import os
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

log = logging.getLogger(__name__)
SCOPES = {"read", "write", "admin"}
HASH_PREFIX = "sha256:"
# How long a removed token may still be accepted, beside what the platform takes to change the file.
SECONDS_BETWEEN_LOOKS = 1.0


class TokenFileError(ValueError):
    """The token file is wrong. The message names the line, never its content."""


class UnauthenticatedError(Exception):
    """No token, or none that is known."""


class ForbiddenError(Exception):
    """The token is known, and its scopes do not allow this."""


@dataclass(frozen=True, slots=True)
class Token:
    """One line of the token file: a name for people, what it may do, and the hash of the token."""

    name: str
    scopes: frozenset[str]
    digest: bytes


def parse_tokens(text: str) -> tuple[Token, ...]:
    """Tokens from `<name> <scope>[,<scope>…] sha256:<64 hex digits>` lines; TokenFileError names the line."""
    tokens: list[Token] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        if len(fields) != 3 or not fields[2].startswith(HASH_PREFIX):
            raise TokenFileError(
                f"line {number}: expected '<name> <scope>[,<scope>…] sha256:<64 hex digits>'"
            )
        scopes = frozenset(fields[1].split(","))
        if not scopes <= SCOPES:
            raise TokenFileError(f"line {number}: scopes are read, write and admin, separated by commas")
        try:
            digest = bytes.fromhex(fields[2].removeprefix(HASH_PREFIX))
        except ValueError:
            digest = b""
        if len(digest) != sha256().digest_size:
            raise TokenFileError(f"line {number}: the hash is not 64 hex digits")
        tokens.append(Token(fields[0], SCOPES_OF_ADMIN if "admin" in scopes else scopes, digest))
    if not tokens:
        raise TokenFileError("there is no token in it; leave the setting out to run without authentication")
    return tuple(tokens)


SCOPES_OF_ADMIN = frozenset(SCOPES)


class Authenticator:
    """Decides whether a request may do what it asks for."""

    def __init__(self, tokens: tuple[Token, ...] | None, path: Path | None = None) -> None:
        self._tokens = tokens
        self._path = path
        self._seen = _identity(path) if path else None
        self._next_look = 0.0

    @classmethod
    def create(cls, text: str | None, path: Path | None) -> "Authenticator":
        """From the text of a token file, which is followed where its path is given.

        Without any text everybody may do everything, and the log says so.
        """
        if text is None:
            log.warning("authentication is off: set DUMBKV_AUTH_TOKENS_FILE to ask for tokens")
            return cls(None)
        return cls(parse_tokens(text), path)

    def require(self, authorization: bytes | None, scope: str) -> None:
        """Return where the header's token has the scope; UnauthenticatedError or ForbiddenError otherwise."""
        if scope not in self.scopes(authorization):
            raise ForbiddenError

    def scopes(self, authorization: bytes | None) -> frozenset[str]:
        """What the header's token may do; UnauthenticatedError where there is none that is known."""
        if self._path is not None:
            self._follow(self._path)
        if self._tokens is None:
            return SCOPES_OF_ADMIN
        scheme, _, token = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            raise UnauthenticatedError
        digest = sha256(token.strip()).digest()
        known: Token | None = None
        # All of them, and each in constant time: how long this takes tells nothing about a token.
        for candidate in self._tokens:
            if hmac.compare_digest(candidate.digest, digest):
                known = candidate
        if known is None:
            raise UnauthenticatedError
        return known.scopes

    def _follow(self, path: Path) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + SECONDS_BETWEEN_LOOKS
        identity = _identity(path)
        if identity == self._seen:
            return
        self._seen = identity
        try:
            self._tokens = parse_tokens(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            log.error("the changed token file is not used, the former tokens stay valid: %s", reason)
        else:
            log.info("the token file changed: %d tokens", len(self._tokens))


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is edited or replaced; None while it is away."""
    try:
        status = os.stat(path)  # noqa: PTH116 (half the time of Path.stat, once a second in the request's way)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
