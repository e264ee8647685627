"""The command's side of the HTTP API: one request, and what went wrong in words that say what to do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

FAILED: Final = 1
NOT_FOUND: Final = 3
CONDITION_FAILED: Final = 4
EXIT_CODES: Final = {"key-not-found": NOT_FOUND, "condition-failed": CONDITION_FAILED}
TIMEOUT: Final = httpx.Timeout(60, connect=5)


class CommandError(Exception):
    """What the user is told in one line. `exit_code` is the process'."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Api:
    """A DumbKV server. Every method raises CommandError."""

    url: str
    token: str | None

    def send(self, method: str, path: str, body: object | None = None) -> dict[str, Any]:
        """The answer to one call, as the API documents it."""
        with self._connected() as client:
            response = client.request(method, path, json=body)
        answer = _decoded(response, self.url)
        if response.is_success:
            return answer
        code, detail = str(answer.get("code", "")), str(answer.get("detail", response.reason_phrase))
        if code == "unauthenticated":
            detail = f"{detail} The command takes it from DUMBKV_TOKEN or --token-file."
        raise CommandError(detail, EXIT_CODES.get(code, FAILED))

    def status(self, path: str) -> tuple[int, str]:
        """Status and body of a path that needs no token."""
        with self._connected() as client:
            response = client.get(path)
        return response.status_code, response.text

    @contextmanager
    def _connected(self) -> Iterator[httpx.Client]:
        headers: Mapping[str, str] = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT) as client:
                yield client
        except httpx.InvalidURL as error:
            raise CommandError(f"{self.url} is no URL: {error}") from None
        except httpx.UnsupportedProtocol:
            raise CommandError(f"{self.url} is no URL: begin it with http:// or https://") from None
        except httpx.ConnectError as error:
            raise CommandError(
                f"no server answers at {self.url} ({error}); give another with --url or DUMBKV_URL"
            ) from None
        except httpx.TimeoutException:
            raise CommandError(f"{self.url} did not answer in time; a write may have been done") from None
        except (httpx.TransportError, UnicodeEncodeError) as error:
            # The text of an encoding error would show the token.
            raise CommandError(f"the request to {self.url} failed: {type(error).__name__}") from None


def _decoded(response: httpx.Response, url: str) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        kind = response.headers.get("content-type", "nothing")
        raise CommandError(f"{url} is no DumbKV: it answered {response.status_code} with {kind}")
    return answer
