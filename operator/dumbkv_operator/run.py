"""The operator's process: kopf around the caches, the queue and the Lease."""

import asyncio
import logging

import kopf

from dumbkv_operator import handlers, logs, probe
from dumbkv_operator.client import Client
from dumbkv_operator.cluster import Cluster
from dumbkv_operator.events import Recorder
from dumbkv_operator.informer import Key
from dumbkv_operator.lease import Lease
from dumbkv_operator.queue import Queue
from dumbkv_operator.reconcile import Reconciler
from dumbkv_operator.settings import Settings
from dumbkv_operator.status import Publisher

logger = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Run the operator until it is told to stop by SIGTERM or SIGINT.

    Raises ExceptionGroup where a part of it broke: the process should be started again.
    """
    logs.configure(settings.log_level, settings.log_format)
    asyncio.run(serve(settings))


async def serve(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Run the operator in the current loop until a signal comes or `stop` is set."""
    operator = Operator(settings, stop or asyncio.Event())
    probe.serve_metrics(settings.metrics_port, operator.queue)
    endpoint = f"http://0.0.0.0:{settings.probe_port}/healthz" if settings.probe_port else None
    await kopf.operator(
        registry=handlers.register(operator),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        liveness_endpoint=endpoint,
        stop_flag=operator.stopping,
    )
    if operator.failure is not None:
        raise operator.failure


class Operator:
    """All parts of the operator, wired."""

    def __init__(self, settings: Settings, stopping: asyncio.Event) -> None:
        self.settings = settings
        self.stopping = stopping
        self.queue = Queue()
        self.failure: BaseException | None = None
        self._leading = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the caches and stand for the Lease, in the background."""
        self._task = asyncio.create_task(self._run(), name="operator")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop reconciling, give the Lease back, close all connections."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def notice(self, key: Key) -> None:
        """Put a resource on the queue."""
        self.queue.put(key)

    def health(self) -> str:
        """Return a word on the operator's health.

        Raises probe.StuckError where it gets nothing done.
        """
        return probe.check(self.queue, leading=self._leading)

    async def _run(self) -> None:
        # Only the Lease is written without asking whether the Lease is held.
        async with Client() as own:
            lease = Lease(own, self.settings) if self.settings.leader_election else None
            async with Client(before_write=lease.confirm if lease else None) as client:
                await self._serve(client, lease)

    async def _serve(self, client: Client, lease: Lease | None) -> None:
        cluster = Cluster(client, self.settings, self.queue.put)
        publisher = Publisher(client, cluster, Recorder(client, self.settings.identity))
        reconciler = Reconciler(client, cluster, self.queue, publisher, self.settings)

        async def work() -> None:
            self._leading = True
            try:
                await self.queue.run(reconciler.reconcile, self.settings.workers)
            finally:
                self._leading = False

        async with asyncio.TaskGroup() as group:
            caches = group.create_task(cluster.run())
            await cluster.synced()
            logger.info("The caches are filled.")
            try:
                await (lease.lead(work) if lease else work())
            finally:
                caches.cancel()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("The operator ends, a part of it broke.", exc_info=error)
            self.failure = error
        self.stopping.set()
