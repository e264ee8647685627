"""Bearer tokens from a file of hashes, with scopes; followed as the file changes."""

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from .files import Followed

log = logging.getLogger(__name__)
SCOPES = {"read", "write", "admin"}
HASH_PREFIX = "sha256:"
# Why a request is not let in, for the metric.
MISSING, MALFORMED, UNKNOWN = "missing", "malformed", "unknown"


class TokenFileError(ValueError):
    """The token file is wrong. The message names the line, never its content."""


class UnauthenticatedError(Exception):
    """There is no token that is known: `reason` is MISSING, MALFORMED or UNKNOWN."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownTokenError(UnauthenticatedError):
    """There is a token, and it is not known: perhaps somebody guesses."""

    def __init__(self) -> None:
        super().__init__(UNKNOWN)


class TooManyFailuresError(Exception):
    """Too many answers to unknown tokens wait for their turn. `seconds` until there is room again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"try again in {seconds} s")
        self.seconds = seconds


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


@dataclass(slots=True)
class Brake:
    """Lets answers to unknown tokens out one by one, and only as many as `waiting` wait for their turn.

    It asks for no address: behind a proxy all clients have the same. It never touches who has a good token.
    All that it remembers is one moment, however many clients there are.
    """

    interval: float
    waiting: int
    _next: float = 0.0

    def delay(self, now: float) -> float:
        """Seconds until the turn of an answer that comes at `now`; TooManyFailuresError: there is none."""
        wait = max(0.0, self._next - now)
        if wait > self.waiting * self.interval:
            raise TooManyFailuresError(math.ceil(wait - self.waiting * self.interval))
        self._next = now + wait + self.interval
        return wait


def _uncounted(_: str) -> None:
    """For who does not count."""


class Authenticator:
    """Decides whether a request may do what it asks for."""

    def __init__(
        self,
        tokens: tuple[Token, ...] | None,
        followed: Followed[tuple[Token, ...]] | None = None,
        *,
        brake: Brake | None = None,
        on_failure: Callable[[str], None] = _uncounted,
    ) -> None:
        self._tokens = tokens
        self._followed = followed
        self._brake = brake
        self._on_failure = on_failure

    @classmethod
    def create(
        cls,
        text: str | None,
        path: Path | None,
        *,
        brake: Brake | None = None,
        on_failure: Callable[[str], None] = _uncounted,
    ) -> "Authenticator":
        """From the text of a token file, which is followed where its path is given.

        Without any text everybody may do everything, and the log says so. `on_failure` is told why a request
        was not let in, by one of the reasons; `brake` slows guesses.
        """
        if text is None:
            log.warning("authentication is off: set DUMBKV_AUTH_TOKENS_FILE to ask for tokens")
            return cls(None)
        followed = None if path is None else Followed(path, text, parse_tokens, "token file")
        return cls(parse_tokens(text), followed, brake=brake, on_failure=on_failure)

    def scopes(self, authorization: bytes | None) -> frozenset[str]:
        """What the header's token may do; UnauthenticatedError where there is none that is known."""
        if self._followed is not None and (tokens := self._followed.changed()) is not None:
            self._tokens = tokens
            log.info("the token file changed: %d tokens", len(tokens))
        if self._tokens is None:
            return SCOPES_OF_ADMIN
        scheme, _, token = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            raise UnauthenticatedError(MALFORMED if authorization else MISSING)
        digest = sha256(token.strip()).digest()
        known: Token | None = None
        # All of them, and each in constant time: how long this takes tells nothing about a token.
        for candidate in self._tokens:
            if hmac.compare_digest(candidate.digest, digest):
                known = candidate
        if known is None:
            raise UnknownTokenError
        return known.scopes

    async def refuse(self, error: UnauthenticatedError) -> None:
        """Count a refusal, and return when it is its turn to be answered; or TooManyFailuresError."""
        self._on_failure(error.reason)
        if self._brake is not None and isinstance(error, UnknownTokenError):
            await asyncio.sleep(self._brake.delay(time.monotonic()))
