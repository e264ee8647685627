import itertools

import pytest

from devcluster.local.addresses import BLOCKS, MAXIMUM_NODES, RANGE, Addresses


def test_clusters_share_no_address() -> None:
    for one, other in itertools.combinations(BLOCKS, 2):
        assert not one.overlaps(other)
    assert all(block.subnet_of(RANGE) for block in BLOCKS)


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_the_parts_of_a_cluster_lie_in_its_block_and_do_not_overlap(block: int) -> None:
    addresses = Addresses(block)
    parts = [addresses.pods, addresses.nodes, addresses.uplink, addresses.services]
    assert all(part.subnet_of(addresses.network) for part in parts)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(parts, 2))


def test_each_node_has_its_own_pods_within_the_range_that_kube_proxy_knows() -> None:
    addresses = Addresses(3)
    pods = [addresses.node_pods(index) for index in range(1, MAXIMUM_NODES + 1)]
    assert all(each.subnet_of(addresses.pods) for each in pods)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(pods, 2))
    assert len({addresses.node(index) for index in range(1, MAXIMUM_NODES + 1)}) == MAXIMUM_NODES


@pytest.mark.parametrize("index", [0, MAXIMUM_NODES + 1])
def test_a_node_outside_the_range_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="nodes 1 to 15"):
        Addresses(0).node(index)


def test_an_interface_name_fits_the_kernel() -> None:
    assert max(len(Addresses(block).interface) for block in range(len(BLOCKS))) < 16
