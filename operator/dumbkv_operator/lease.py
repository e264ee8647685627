"""Leadership by a Lease, as client-go's leader election: one operator reconciles, the others stand by."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import aiohttp

from dumbkv_operator import metrics
from dumbkv_operator.client import ApiError, Client, Kind, Object
from dumbkv_operator.settings import Settings

logger = logging.getLogger(__name__)

LEASE: Final = Kind("coordination.k8s.io/v1", "leases", "Lease")


class Lease:
    """One candidate. Clocks of two machines are never compared: only how long nothing changed counts.

    `client` must be one whose writes do not wait for `confirm`.
    """

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._deadline = 0.0
        self._seen: tuple[object, float] = (None, 0.0)
        self._taken = False

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the Lease, then run `work` as long as it is held; over and over, until cancelled.

        When the Lease is lost, `work` is cancelled before anybody else can have it. When this is cancelled,
        the Lease is given back, so that a standby takes over at once.
        """
        while True:
            await self._acquire()
            logger.info("Leading as %s.", self._settings.identity)
            metrics.LEADER.set(1)
            task = asyncio.ensure_future(work())
            try:
                await self._hold(task)
            finally:
                self._deadline = 0.0
                metrics.LEADER.set(0)
                task.cancel()
                await asyncio.wait([task])
                await self._release()
            if not task.cancelled():
                task.result()
            logger.warning("The Lease is lost: reconciling stops until it is held again.")

    async def confirm(self) -> None:
        """Return as long as the Lease is held for certain; else wait for the cancellation that is on its way.

        A process that was stopped for longer than the Lease lasts goes on where it was, before any timer of
        its own has told it that somebody else leads by now: so each write asks here first.
        """
        loop = asyncio.get_running_loop()
        if loop.time() >= self._deadline:
            await loop.create_future()

    async def _acquire(self) -> None:
        while not await self._try():  # noqa: ASYNC110 - what is waited for happens on another machine
            await asyncio.sleep(self._settings.lease_retry_seconds)

    async def _hold(self, task: "asyncio.Future[None]") -> None:
        """Renew until it cannot be renewed in time, or the task ends."""
        while not task.done():
            await asyncio.wait([task], timeout=self._settings.lease_retry_seconds)
            try:
                async with asyncio.timeout_at(self._deadline):
                    held = await self._try()
            except TimeoutError:
                return
            if not held and (self._taken or asyncio.get_running_loop().time() >= self._deadline):
                return

    async def _try(self) -> bool:
        """Take or renew the Lease; return whether it is held now."""
        settings = self._settings
        self._taken = False
        asked = asyncio.get_running_loop().time()
        try:
            lease = await self._client.get(LEASE, settings.lease_namespace, settings.lease_name)
            if lease is None:
                await self._client.create(LEASE, self._manifest({}))
            elif self._is_anothers(lease.get("spec") or {}):
                self._taken = True
                return False
            else:
                await self._client.replace(LEASE, self._manifest(lease))
        except ApiError as error:
            if error.status != 409:  # Somebody else was faster: that is how it is meant to be.
                logger.warning("The Lease %s was not renewed: %s", settings.lease_name, error)
            return False
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.warning("The Lease %s was not renewed: %r", settings.lease_name, error)
            return False
        # From before the request: the others count from its arrival, which the answer may come long after.
        self._deadline = asked + settings.lease_renew_deadline_seconds
        return True

    def _is_anothers(self, spec: Object) -> bool:
        """Return whether somebody else holds the Lease, as far as this candidate has seen until now."""
        settings = self._settings
        holder, record = spec.get("holderIdentity"), (spec.get("holderIdentity"), spec.get("renewTime"))
        now = asyncio.get_running_loop().time()
        if self._seen[0] != record:
            self._seen = record, now
        expired = now - self._seen[1] > spec.get("leaseDurationSeconds", settings.lease_duration_seconds)
        return bool(holder) and holder != settings.identity and not expired

    async def _release(self) -> None:
        settings = self._settings
        try:
            lease = await self._client.get(LEASE, settings.lease_namespace, settings.lease_name)
            if lease and lease["spec"].get("holderIdentity") == settings.identity:
                lease["spec"] |= {"holderIdentity": None, "leaseDurationSeconds": 1}
                await self._client.replace(LEASE, lease)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            logger.warning("The Lease was not given back, it will expire: %s", error)

    def _manifest(self, lease: Object) -> Object:
        settings, spec = self._settings, lease.get("spec") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = spec.get("holderIdentity") == settings.identity
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": lease.get("metadata")
            or {"name": settings.lease_name, "namespace": settings.lease_namespace},
            "spec": {
                "holderIdentity": settings.identity,
                "leaseDurationSeconds": settings.lease_duration_seconds,
                "acquireTime": spec.get("acquireTime", now) if same else now,
                "renewTime": now,
                "leaseTransitions": spec.get("leaseTransitions", 0) + (0 if same else 1),
            },
        }
