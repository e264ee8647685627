"""The command line of every component. Where a flag departs from the default, the reason is beside it."""

from devcluster.local import configuration
from devcluster.local.keeper import Process
from devcluster.local.spec import PORT, Spec


def control_plane(spec: Spec) -> list[Process]:
    """What runs in the cluster's own namespaces, outside any node."""
    processes = [_etcd(spec), _api_server(spec), _controller_manager(spec)]
    if spec.scheduler:
        processes.append(_scheduler(spec))
    if spec.nodes:
        # A kube-proxy here too: Services answer the host whichever nodes are alive. It goes by node 1's
        # name, because it looks its node up when it starts.
        processes += [_kube_proxy(spec, "kube-proxy", "node1"), _coredns(spec), _provisioner(spec)]
    if spec.fake_nodes:
        processes.append(_kwok(spec))
    return processes


def node(spec: Spec, index: int) -> list[Process]:
    """What runs on a node; containerd, which the others need, is the first."""
    name = f"node{index}"
    return [
        Process(
            f"{name}.containerd",
            ["/usr/bin/containerd", "--config", str(configuration.containerd(spec, index))],
            spec.files.log(f"{name}.containerd"),
        ),
        Process(
            f"{name}.kubelet",
            [
                spec.program("kubelet"),
                f"--config={configuration.kubelet(spec, index)}",
                f"--kubeconfig={spec.files.client(name)}",
                f"--root-dir={spec.files.node(name) / 'kubelet'}",
                f"--hostname-override={name}",
                f"--node-ip={spec.addresses.node(index)}",
            ],
            spec.files.log(f"{name}.kubelet"),
        ),
        _kube_proxy(spec, f"{name}.kube-proxy", name),
    ]


def _process(spec: Spec, name: str, program: str, *arguments: str, **environment: str) -> Process:
    return Process(name, [program, *arguments], spec.files.log(name), environment=environment)


def _etcd(spec: Spec) -> Process:
    return _process(
        spec,
        "etcd",
        spec.program("etcd"),
        f"--data-dir={spec.files.folder / 'etcd'}",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--log-level=warn",
        # The data dies with the cluster anyway.
        "--unsafe-no-fsync",
    )


def _api_server(spec: Spec) -> Process:
    certificates, addresses = spec.files.certificates, spec.addresses
    return _process(
        spec,
        "kube-apiserver",
        spec.program("kube-apiserver"),
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        f"--secure-port={PORT}",
        # With 127.0.0.1 no pod could reach the Service `kubernetes`.
        f"--advertise-address={addresses.control_plane}",
        f"--service-cluster-ip-range={addresses.services}",
        f"--tls-cert-file={certificates / 'kube-apiserver.crt'}",
        f"--tls-private-key-file={certificates / 'kube-apiserver.key'}",
        f"--client-ca-file={certificates / 'ca.crt'}",
        f"--kubelet-certificate-authority={certificates / 'ca.crt'}",
        f"--kubelet-client-certificate={certificates / 'kubelet-client.crt'}",
        f"--kubelet-client-key={certificates / 'kubelet-client.key'}",
        # By default it asks DNS for the node's name first, and logs, exec and port-forward fail.
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={certificates / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={certificates / 'service-accounts.key'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--profiling=false",
        # Its start is most of the cluster's: a fifth less of it for 80 MB.
        GOGC="200",
    )


def _controller_manager(spec: Spec) -> Process:
    certificates = spec.files.certificates
    return _process(
        spec,
        "kube-controller-manager",
        spec.program("kube-controller-manager"),
        f"--kubeconfig={spec.files.client('kube-controller-manager')}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={certificates / 'service-accounts.key'}",
        f"--root-ca-file={certificates / 'ca.crt'}",
        f"--cluster-signing-cert-file={certificates / 'ca.crt'}",
        f"--cluster-signing-key-file={certificates / 'ca.key'}",
        "--allocate-node-cidrs=false",
        # A dead node is NotReady after 16 s; the default is 50.
        "--node-monitor-grace-period=16s",
        "--node-monitor-period=2s",
        "--kube-api-qps=100",
        "--kube-api-burst=200",
        "--profiling=false",
    )


def _scheduler(spec: Spec) -> Process:
    return _process(
        spec,
        "kube-scheduler",
        spec.program("kube-scheduler"),
        f"--kubeconfig={spec.files.client('kube-scheduler')}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--kube-api-qps=100",
        "--kube-api-burst=200",
        "--profiling=false",
    )


def _kube_proxy(spec: Spec, name: str, node_name: str) -> Process:
    return _process(
        spec, name, spec.program("kube-proxy"), f"--config={configuration.kube_proxy(spec, name, node_name)}"
    )


def _coredns(spec: Spec) -> Process:
    return _process(spec, "coredns", spec.coredns, "-conf", str(configuration.coredns(spec)))


def _provisioner(spec: Spec) -> Process:
    configuration_file, helper_pod = configuration.provisioner(spec)
    return _process(
        spec,
        "local-path-provisioner",
        spec.provisioner,
        "start",
        f"--config={configuration_file}",
        f"--helper-pod-file={helper_pod}",
        f"--helper-image={configuration.TOOLS_IMAGE}",
        f"--kubeconfig={spec.files.client('local-path-provisioner')}",
        f"--provisioner-name={configuration.PROVISIONER}",
        "--namespace=kube-system",
        f"--configmap-name={configuration.PROVISIONER_NAME}",
        f"--service-account-name={configuration.PROVISIONER_NAME}",
    )


def _kwok(spec: Spec) -> Process:
    return _process(
        spec,
        "kwok",
        spec.kwok,
        f"--kubeconfig={spec.files.client('kwok')}",
        f"--manage-nodes-with-label-selector={configuration.FAKE_NODE_LABEL}",
        f"--cidr={spec.addresses.pods}",
        f"--node-ip={spec.addresses.control_plane}",
        *(f"--config={path}" for path in spec.kwok_stages),
    )
