"""Which addresses and interface names a cluster owns.

All lie in 198.18.0.0/15, which RFC 2544 keeps for tests: no real network is shadowed. Each cluster has a
block of its own (a /19), so that clusters of different names run side by side:

    +0.0/20    pods: node i has the /24 number i
    +16.0/24   nodes: the control plane's bridge is .1, node i is .(10 + i)
    +17.0/30   the uplink: the host is .1, the cluster is .2
    +24.0/21   Services: the API server is .1, DNS is .10

The uplink lies outside the pods' range on purpose: kube-proxy masquerades what comes from outside that
range, and without it the replies of a second node would take another way than the requests.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

RANGE = IPv4Network("198.18.0.0/15")
BLOCKS = tuple(RANGE.subnets(new_prefix=19))
MAXIMUM_NODES = 15


@dataclass(frozen=True)
class Addresses:
    """The addresses of the cluster that has block number `block` (0 to 15)."""

    block: int

    @property
    def network(self) -> IPv4Network:
        """Everything this cluster owns; the host routes it to the cluster."""
        return BLOCKS[self.block]

    @property
    def pods(self) -> IPv4Network:
        """Where all pods are: kube-proxy's `clusterCIDR`."""
        return next(self.network.subnets(new_prefix=20))

    @property
    def nodes(self) -> IPv4Network:
        """The network that joins the control plane and the nodes."""
        return self._slice(16, 24)

    @property
    def uplink(self) -> IPv4Network:
        """The two addresses between the host and the control plane."""
        return self._slice(17, 30)

    @property
    def services(self) -> IPv4Network:
        """Where the Services' cluster addresses are."""
        return self._slice(24, 21)

    @property
    def control_plane(self) -> IPv4Address:
        """The control plane's address for the nodes and their pods."""
        return self.nodes[1]

    @property
    def host(self) -> IPv4Address:
        """The host's address for the cluster."""
        return self.uplink[1]

    @property
    def api(self) -> IPv4Address:
        """The control plane's address for the host."""
        return self.uplink[2]

    @property
    def api_service(self) -> IPv4Address:
        """The cluster address of the Service `kubernetes`."""
        return self.services[1]

    @property
    def dns(self) -> IPv4Address:
        """The cluster address of the Service `kube-dns`."""
        return self.services[10]

    @property
    def interface(self) -> str:
        """The name of the host's interface to this cluster."""
        return f"dumbkv{self.block}"

    def node(self, index: int) -> IPv4Address:
        """The address of node number `index` (from 1)."""
        return self.nodes[10 + self._checked(index)]

    def node_pods(self, index: int) -> IPv4Network:
        """The addresses of the pods of node number `index` (from 1)."""
        return self._slice(self._checked(index), 24)

    def _slice(self, third: int, prefix: int) -> IPv4Network:
        return IPv4Network((int(self.network.network_address) + third * 256, prefix))

    def _checked(self, index: int) -> int:
        if not 1 <= index <= MAXIMUM_NODES:
            raise ValueError(f"a cluster has nodes 1 to {MAXIMUM_NODES}, not {index}")
        return index
