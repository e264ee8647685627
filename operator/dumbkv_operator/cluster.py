"""What the operator knows of the cluster: caches that watches fill, so that looking costs no request."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from dumbkv_operator import names, spec
from dumbkv_operator.apply import is_ours, kind_of
from dumbkv_operator.children import CHILDREN, HTTP_ROUTE, SERVICE_MONITOR, Child
from dumbkv_operator.client import Client, Kind, Object
from dumbkv_operator.conflicts import Claims
from dumbkv_operator.informer import Informer, Key, Store, key_of, version_of
from dumbkv_operator.settings import Settings
from dumbkv_operator.spec import Resource, SpecError

DUMBKV: Final = Kind(names.API_VERSION, names.PLURAL, names.KIND)
POD: Final = Kind("v1", "pods", "Pod")
SECRET: Final = Kind("v1", "secrets", "Secret")
STORAGE_CLASS: Final = Kind("storage.k8s.io/v1", "storageclasses", "StorageClass")
CRD: Final = Kind("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition")

CUSTOM_KINDS: Final = {kind.crd: kind for kind in (DUMBKV, kind_of(SERVICE_MONITOR), kind_of(HTTP_ROUTE))}
"""Kinds that a cluster has only once their CustomResourceDefinition is there, by that one's name."""

MANAGED: Final = {"labelSelector": names.MANAGED_SELECTOR}
# Helm's releases are many and large, and no specification can sensibly name one.
NAMED_SECRETS: Final = {"fieldSelector": "type!=helm.sh/release.v1"}

POD_FIELDS: Final = ("phase", "conditions", "containerStatuses", "initContainerStatuses")


def trim(item: Object) -> Object:
    """Return an object without what nobody here reads but which takes most of its room."""
    metadata = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
    return {**item, "metadata": metadata}


def trim_pod(item: Object) -> Object:
    """Return the parts of a pod that say why it does not serve."""
    status = {name: value for name, value in (item.get("status") or {}).items() if name in POD_FIELDS}
    spec = {"nodeName": (item.get("spec") or {}).get("nodeName")}
    return {"metadata": trim(item)["metadata"], "spec": spec, "status": status}


def trim_identity(item: Object) -> Object:
    """Return no more of an object than its name and version."""
    kept = ("name", "namespace", "uid", "resourceVersion")
    return {"metadata": {name: item["metadata"][name] for name in kept if name in item["metadata"]}}


class Cluster:
    """The caches. `notify` is called with each resource that a change in them makes worth a reconcile."""

    def __init__(self, client: Client, settings: Settings, notify: Callable[[Key], None]) -> None:
        self.claims = Claims()
        self._client = client
        self._namespaces: tuple[str | None, ...] = settings.namespaces or (None,)
        self._notify = notify
        self._parsed: dict[Key, Resource | SpecError] = {}
        self._pods: defaultdict[Key, dict[str, Object]] = defaultdict(dict)
        self._lost: defaultdict[Key, dict[Child, Object]] = defaultdict(dict)
        self._read_secrets: dict[Key, Object] = {}
        self._bodies = Store(self._resource_changed, trim)
        self._storage_classes = Store(lambda _before, _after: self._notify_all(), trim)
        self._named_secrets = Store(self._named_secret_changed, trim_identity)
        self._children = {
            plural: Store(partial(self._child_changed, plural), trim)
            for plural in {child.plural for child in CHILDREN}
        }
        self._builtin = self._make_builtin()
        self._custom: dict[str, list[Informer]] = {}
        self._custom_tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Keep the caches up to date until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            for informer in self._builtin:
                self._group.create_task(informer.run(), name=f"informer {informer.kind.plural}")

    async def synced(self) -> None:
        """Return once every cache has been filled; before that nothing may be concluded from an absence."""
        for informer in self._builtin:
            await informer.synced.wait()
        # The list of definitions has been seen by now, so these are all that there are.
        for informer in [each for informers in self._custom.values() for each in informers]:
            await informer.synced.wait()

    def body(self, key: Key) -> Object | None:
        """Return the DumbKV resource as the API server gave it, or None: it is gone."""
        return self._bodies.get(*key)

    def resource(self, key: Key) -> Resource:
        """Return the DumbKV resource, typed, which must be there.

        Raises SpecError where it breaks a rule of its kind.
        """
        parsed = self._parsed[key]
        if isinstance(parsed, SpecError):
            raise parsed
        return parsed

    def take_body(self, body: Object) -> None:
        """Take in a DumbKV resource from the answer to a write."""
        self._bodies.put(body)

    def take_child(self, child: Child, item: Object) -> None:
        """Take in a child from the answer to a write."""
        self._children[child.plural].put(item)

    def pods(self, key: Key) -> list[Object]:
        """Return the pods of a resource."""
        return list(self._pods.get(key, {}).values())

    def storage_class(self, name: str) -> Object | None:
        """Return a StorageClass, or None: there is none of that name."""
        return self._storage_classes.get("", name)

    def installed(self, child: Child) -> bool:
        """Return whether the cluster has the child's kind."""
        crd = kind_of(child).crd
        if crd not in CUSTOM_KINDS:
            return True
        informers = self._custom.get(crd, ())
        return bool(informers) and all(informer.synced.is_set() for informer in informers)

    async def find(self, child: Child, resource: Resource) -> Object | None:
        """Return what has the child's name, whoever made it, or None.

        Only what carries the operator's labels is in the caches; for what is not there the API server is
        asked, so that nothing of somebody else is ever taken for absent.
        """
        name = child.name(resource.name)
        if found := self._children[child.plural].get(resource.namespace, name):
            return found
        return (
            await self._client.get(kind_of(child), resource.namespace, name)
            if self.installed(child)
            else None
        )

    def cached(self, child: Child, resource: Resource) -> Object | None:
        """Return the child as the caches have it, or None: there is none with the operator's labels."""
        return self._children[child.plural].get(resource.namespace, child.name(resource.name))

    def lost(self, key: Key) -> dict[Child, Object]:
        """Return the children that somebody deleted or emptied, as they were before."""
        return dict(self._lost.get(key, {}))

    def forget_lost(self, key: Key, found: Mapping[Child, Object]) -> None:
        """Forget that these, as `lost` gave them, were lost: they are back, or not wanted any more."""
        lost = self._lost.get(key, {})
        for child, item in found.items():
            if lost.get(child) is item:
                del lost[child]
        if not lost:
            self._lost.pop(key, None)

    async def secret(self, namespace: str, name: str) -> Object | None:
        """Return a Secret that a specification names, or None. It is read again only after it has changed."""
        seen = self._named_secrets.get(namespace, name)
        if seen is None:
            self._read_secrets.pop((namespace, name), None)
            return None
        read = self._read_secrets.get((namespace, name))
        if read is None or version_of(read) < version_of(seen):
            read = await self._client.get(SECRET, namespace, name)
            if read is not None:
                self._read_secrets[namespace, name] = read
        return read

    def _make_builtin(self) -> list[Informer]:
        informers = [
            Informer(self._client, CRD, Store(self._crd_changed, trim_identity), metadata_only=True),
            Informer(self._client, STORAGE_CLASS, self._storage_classes),
        ]
        pods = Store(self._pod_changed, trim_pod)
        kinds = {child.plural: kind_of(child) for child in CHILDREN if kind_of(child).crd not in CUSTOM_KINDS}
        for namespace in self._namespaces:
            informers.append(Informer(self._client, POD, pods, namespace=namespace, query=MANAGED))
            informers.append(
                Informer(
                    self._client,
                    SECRET,
                    self._named_secrets,
                    namespace=namespace,
                    query=NAMED_SECRETS,
                    metadata_only=True,
                )
            )
            informers += [
                Informer(self._client, kind, self._children[plural], namespace=namespace, query=MANAGED)
                for plural, kind in kinds.items()
            ]
        return informers

    def _resource_changed(self, before: Object | None, after: Object | None) -> None:
        key = key_of(after or before or {})
        resource = None
        if after is None:
            self._parsed.pop(key, None)
            self._lost.pop(key, None)
        else:
            try:
                resource = self._parsed[key] = spec.parse(after)
            except SpecError as error:
                self._parsed[key] = error
        for other in self.claims.update(key, resource):
            self._notify(other)
        self._notify(key)

    def _child_changed(self, plural: str, before: Object | None, after: Object | None) -> None:
        key = _owner_key(after or before or {})
        resource = self._parsed.get(key)
        if before is not None and isinstance(resource, Resource) and is_ours(before, resource):
            emptied = after is not None and set(before.get("data") or ()) > set(after.get("data") or ())
            if after is None or emptied:
                for child in CHILDREN:
                    if child.plural == plural and child.name(resource.name) == key_of(before)[1]:
                        self._lost[key].setdefault(child, before)
        self._notify(key)

    def _pod_changed(self, before: Object | None, after: Object | None) -> None:
        item = after or before or {}
        key = _owner_key(item)
        if after is None:
            self._pods[key].pop(key_of(item)[1], None)
            if not self._pods[key]:
                del self._pods[key]
        else:
            self._pods[key][key_of(item)[1]] = after
        self._notify(key)

    def _named_secret_changed(self, before: Object | None, after: Object | None) -> None:
        namespace, name = key_of(after or before or {})
        for key, resource in self._parsed.items():
            if key[0] == namespace and isinstance(resource, Resource) and name in named_secrets(resource):
                self._notify(key)

    def _crd_changed(self, before: Object | None, after: Object | None) -> None:
        crd = key_of(after or before or {})[1]
        kind = CUSTOM_KINDS.get(crd)
        if kind is None or self._group is None or (before is not None and after is not None):
            return
        if after is None:
            for task in self._custom_tasks.pop(crd, ()):
                task.cancel()
            del self._custom[crd]
            self._store(kind).clear()
            self._notify_all()
            return
        query = {} if kind == DUMBKV else MANAGED
        self._custom[crd] = [
            Informer(self._client, kind, self._store(kind), namespace=namespace, query=query)
            for namespace in self._namespaces
        ]
        self._custom_tasks[crd] = [
            self._group.create_task(task, name=f"informer {crd}")
            for informer in self._custom[crd]
            for task in (informer.run(), self._announce(informer))
        ]

    async def _announce(self, informer: Informer) -> None:
        await informer.synced.wait()
        self._notify_all()

    def _store(self, kind: Kind) -> Store:
        return self._bodies if kind == DUMBKV else self._children[kind.plural]

    def _notify_all(self) -> None:
        for key in self._parsed:
            self._notify(key)


def named_secrets(resource: Resource) -> set[str]:
    """Return the names of the Secrets that the specification names."""
    database, auth = resource.spec.postgres, resource.spec.auth
    found = {database.secret_ref.name} if database else set()
    return found | ({auth.secret_ref.name} if auth.enabled and auth.secret_ref else set())


def _owner_key(item: Object) -> Key:
    namespace, name = key_of(item)
    return namespace, (item["metadata"].get("labels") or {}).get(names.LABEL_INSTANCE, name)
