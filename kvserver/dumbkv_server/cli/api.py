"""The command's side of the HTTP API: calls, and what went wrong in words that say what to do."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

# The library is loaded with the first call: help and completion answer without it.
if TYPE_CHECKING:
    import httpx

FAILED: Final = 1
NOT_FOUND: Final = 3
CONDITION_FAILED: Final = 4
INTERRUPTED: Final = 130
EXIT_CODES: Final = {"key-not-found": NOT_FOUND, "condition-failed": CONDITION_FAILED}
CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 60


class CommandError(Exception):
    """What the user is told in one line. `exit_code` is the process', `code` that of the server's problem."""

    def __init__(self, message: str, exit_code: int = FAILED, code: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code


class Session:
    """Calls over one connection. Inside of `Api.session` every failure is a CommandError."""

    def __init__(self, client: "httpx.Client", url: str) -> None:
        self._client = client
        self._url = url

    def send(self, method: str, path: str, body: object | None = None) -> dict[str, Any]:
        """The answer to one call, as the API documents it."""
        return self.send_bytes(method, path, None if body is None else encoded(body))

    def send_bytes(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        """The same for a body that is JSON already."""
        headers = None if body is None else {"Content-Type": "application/json"}
        response = self._client.request(method, path, content=body, headers=headers)
        answer = self._decoded(response)
        if not response.is_success:
            raise refusal(answer, response.reason_phrase)
        return answer

    @contextmanager
    def chunks(self, path: str, parameters: dict[str, str]) -> Iterator[Iterator[bytes]]:
        """The body of an answer, as it comes."""
        with self._client.stream("GET", path, params=parameters) as response:
            if not response.is_success:
                response.read()
                raise refusal(self._decoded(response), response.reason_phrase)
            yield response.iter_bytes()

    def status(self, path: str) -> tuple[int, str]:
        """Status and body of a path that needs no token."""
        response = self._client.get(path)
        return response.status_code, response.text

    def _decoded(self, response: "httpx.Response") -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            kind = response.headers.get("content-type", "nothing")
            raise CommandError(f"{self._url} is no DumbKV: it answered {response.status_code} with {kind}")
        return answer


@dataclass(frozen=True)
class Api:
    """A DumbKV server. Every method raises CommandError."""

    url: str
    token: str | None

    def send(self, method: str, path: str, body: object | None = None) -> dict[str, Any]:
        """The answer to one call, as the API documents it."""
        with self.session() as session:
            return session.send(method, path, body)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection for several calls."""
        import httpx

        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        try:
            with httpx.Client(base_url=self.url, headers=headers, timeout=timeout) as client:
                yield Session(client, self.url)
        except httpx.InvalidURL as error:
            raise CommandError(f"{self.url} is no URL: {error}") from None
        except httpx.UnsupportedProtocol:
            raise CommandError(f"{self.url} is no URL: begin it with http:// or https://") from None
        except httpx.ConnectError as error:
            raise CommandError(
                f"no server answers at {self.url} ({error}); give another with --url or DUMBKV_URL"
            ) from None
        except httpx.TimeoutException:
            raise CommandError(f"{self.url} did not answer in time; a write may be done") from None
        except (httpx.LocalProtocolError, UnicodeEncodeError):
            # The text of the error would show the token.
            raise CommandError("the token has characters that no token has: look at its file") from None
        except httpx.TransportError as error:
            raise CommandError(f"the connection to {self.url} broke: {type(error).__name__}") from None


def encoded(body: object) -> bytes:
    """A body as JSON; CommandError where it can be none."""
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise CommandError("keys and values are UTF-8 text, and this is not") from None
    except (ValueError, RecursionError):
        raise CommandError("this is no JSON: a number is not finite, or it is nested too deep") from None


def refusal(answer: dict[str, Any], otherwise: str) -> CommandError:
    """What a problem of the server means to the user."""
    code, detail = str(answer.get("code", "")), str(answer.get("detail", otherwise))
    if code == "unauthenticated":
        detail = f"{detail} The command takes it from DUMBKV_TOKEN or --token-file."
    return CommandError(detail, EXIT_CODES.get(code, FAILED), code)
