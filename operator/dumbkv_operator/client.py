"""The requests to the API server: plain JSON in, plain JSON out, over one aiohttp session.

The credentials are kopf's (the service account in a pod, the kubeconfig elsewhere), so that both halves of
the process speak as the same user.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import aiohttp
import kopf

from dumbkv_operator import metrics
from dumbkv_operator.names import FIELD_MANAGER

Object = dict[str, Any]

JSON = "application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
# Bookmarks come about once a minute: a watch that is silent for longer is a dead connection.
WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=180)
WATCH_SECONDS = "300"
PAGE = 500
MAX_LINE = 8 * 1024 * 1024


@dataclass(frozen=True)
class Kind:
    """A kind of object, as the API server's URLs spell it."""

    api_version: str
    plural: str
    name: str

    @property
    def crd(self) -> str:
        """The name that the kind's CustomResourceDefinition has, if it comes from one."""
        return f"{self.plural}.{self.api_version.partition('/')[0]}"

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """Return the URL path of the collection, of one object in it, or of that one's subresource."""
        parts = ["/apis" if "/" in self.api_version else "/api", self.api_version]
        parts += ["namespaces", namespace] if namespace else []
        return "/".join([*parts, self.plural, *filter(None, (name, subresource))])


class ApiError(Exception):
    """The API server refused a request. `status` is the HTTP status, the message is the server's own."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


def login() -> kopf.ConnectionInfo:
    """Return how to reach the API server: the pod's service account, else the kubeconfig.

    Raises kopf.LoginError where neither is there.
    """
    settings = kopf.OperatorSettings()
    connection = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(
        settings=settings
    )
    if connection is None:
        raise kopf.LoginError(
            "No API server is known: run in a pod with a service account, or set KUBECONFIG."
        )
    return connection


class Client:
    """The API server. Every method raises `ApiError` when refused, `aiohttp.ClientError` when cut off.

    `before_write` is awaited at the last moment before a write is sent: it can hold the write back.
    """

    def __init__(self, before_write: Callable[[], Awaitable[None]] | None = None) -> None:
        self._connection = login()
        self._before_write = before_write
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Each watch holds a connection for good, so the pool has no limit of its own: workers limit requests.
        connector = aiohttp.TCPConnector(ssl=self._connection.as_ssl_context(), limit=0)
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(self._connected)
        trace.on_connection_reuseconn.append(self._connected)
        self._session = aiohttp.ClientSession(
            base_url=self._connection.server,
            connector=connector,
            timeout=REQUEST_TIMEOUT,
            read_bufsize=2**18,
            headers={"User-Agent": FIELD_MANAGER},
            trace_configs=[trace],
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def _connected(
        self, _session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object
    ) -> None:
        if self._before_write is not None and context.trace_request_ctx.method != "GET":
            await self._before_write()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Return one object, or None where there is none."""
        try:
            return await self._json(_Request("get", kind, "GET", kind.path(namespace, name)))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, kind: Kind, namespace: str | None, query: Mapping[str, str], *, metadata_only: bool = False
    ) -> tuple[list[Object], str]:
        """Return all objects that match `query`, and the resource version to watch from."""
        items: list[Object] = []
        params = {**query, "limit": str(PAGE)}
        accept = METADATA_LIST if metadata_only else JSON
        while True:
            request = _Request("list", kind, "GET", kind.path(namespace), params=params, accept=accept)
            page = await self._json(request)
            # A list's items say neither, unlike a watch's: drift would be seen where there is none.
            identity = {"apiVersion": kind.api_version, "kind": kind.name}
            items += [identity | item for item in page["items"] or []]
            if not (following := page["metadata"].get("continue")):
                return items, page["metadata"]["resourceVersion"]
            params["continue"] = following

    async def watch(
        self,
        kind: Kind,
        namespace: str | None,
        version: str,
        query: Mapping[str, str],
        *,
        metadata_only: bool = False,
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield (type, object) for each change after the resource version `version`, bookmarks included.

        It ends when the server ends it, after some minutes. An ERROR event is raised as `ApiError`.
        """
        params = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": WATCH_SECONDS,
        }
        accept = METADATA_ONE if metadata_only else JSON
        request = _Request(
            "watch", kind, "GET", kind.path(namespace), params=params, accept=accept, timeout=WATCH_TIMEOUT
        )
        async with await self._send(request) as response:
            while line := await response.content.readline(max_line_length=MAX_LINE):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _error(event["object"].get("code", 500), event["object"])
                yield event["type"], event["object"]

    async def apply(self, kind: Kind, manifest: Object) -> Object:
        """Create or change an object by server-side apply, whoever had its fields before; return it."""
        metadata = manifest["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"])
        params = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._write(
            # JSON is YAML too, and every version of the server knows apply by this type.
            _Request("apply", kind, "PATCH", path, manifest, params, content="application/apply-patch+yaml")
        )

    async def patch(self, kind: Kind, namespace: str, name: str, body: Object) -> Object:
        """Merge `body` into an object and return it; lists are replaced whole, nulls take a field away."""
        return await self._merge("patch", kind, kind.path(namespace, name), body)

    async def patch_status(self, kind: Kind, namespace: str, name: str, status: Object) -> Object:
        """Merge `status` into the object's status and return the object, as `patch` does."""
        return await self._merge("status", kind, kind.path(namespace, name, "status"), {"status": status})

    async def _merge(self, verb: str, kind: Kind, path: str, body: Object) -> Object:
        params = {"fieldManager": FIELD_MANAGER}
        return await self._write(
            _Request(verb, kind, "PATCH", path, body, params, content="application/merge-patch+json")
        )

    async def create(self, kind: Kind, manifest: Object) -> Object:
        """Create an object that must not exist yet (409 otherwise) and return it."""
        path, params = kind.path(manifest["metadata"]["namespace"]), {"fieldManager": FIELD_MANAGER}
        return await self._write(_Request("create", kind, "POST", path, manifest, params))

    async def replace(self, kind: Kind, manifest: Object) -> Object:
        """Replace an object as long as its resource version is still the manifest's (409 otherwise)."""
        metadata = manifest["metadata"]
        path, params = kind.path(metadata["namespace"], metadata["name"]), {"fieldManager": FIELD_MANAGER}
        return await self._write(_Request("replace", kind, "PUT", path, manifest, params))

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete the object of this `uid`; one that is gone, or was made anew, is left alone."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self._write(_Request("delete", kind, "DELETE", kind.path(namespace, name), body))
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def _write(self, request: "_Request") -> Object:
        written = await self._json(request)
        metrics.WRITES.labels(request.kind.name, request.verb).inc()
        return written

    async def _json(self, request: "_Request") -> Object:
        async with await self._send(request) as response:
            answer: Object = await response.json()
            return answer

    async def _send(self, request: "_Request") -> aiohttp.ClientResponse:
        response = await self._attempt(request)
        if response.status == 401:
            # The kubelet renews the service account's token in place: read it again.
            response.release()
            self._connection = login()
            response = await self._attempt(request)
        if response.status < 400:
            return response
        async with response:
            text = await response.text()
        try:
            status = json.loads(text)
        except ValueError:
            status = {"reason": response.reason or "", "message": text.strip()}
        raise _error(response.status, status)

    async def _attempt(self, request: "_Request") -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("The client is used outside of its `async with` block.")
        metrics.REQUESTS.labels(request.kind.name, request.verb).inc()
        headers = {**self._connection.as_http_headers(), "Accept": request.accept}
        if request.body is not None:
            headers["Content-Type"] = request.content
        return await self._session.request(
            request.method,
            request.path,
            params=request.params,
            data=None if request.body is None else json.dumps(request.body).encode(),
            headers=headers,
            timeout=request.timeout,
            trace_request_ctx=request,
        )


@dataclass(frozen=True)
class _Request:
    """One request. `verb` is what metrics call it."""

    verb: str
    kind: Kind
    method: str
    path: str
    body: Object | None = None
    params: Mapping[str, str] | None = None
    content: str = JSON
    accept: str = JSON
    timeout: aiohttp.ClientTimeout = REQUEST_TIMEOUT


def _error(code: int, status: Mapping[str, Any]) -> ApiError:
    return ApiError(code, status.get("reason", "") or "", status.get("message", "") or "no message")
