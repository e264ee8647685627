"""Runs kubectl against one cluster, as a user would, and reads back what it says."""

import contextlib
import json
import re
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from devcluster.errors import ClusterError


class KubectlError(ClusterError):
    """kubectl ended with an error; the text is what it said."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl bound to a kubeconfig and, where given, to a namespace.

    `program` is the start of the command line: `("kubectl",)`, or the one program of a local cluster.
    """

    kubeconfig: Path
    program: Sequence[str] = ("kubectl",)
    namespace: str | None = None

    def within(self, namespace: str) -> "Kubectl":
        """Returns the same kubectl, bound to `namespace`."""
        return Kubectl(self.kubeconfig, self.program, namespace)

    def command(self, *arguments: str) -> list[str]:
        """Returns the whole command line for `arguments`."""
        scope = ["--namespace", self.namespace] if self.namespace else []
        return [*self.program, "--kubeconfig", str(self.kubeconfig), *scope, *arguments]

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Returns what kubectl prints; raises `KubectlError` with its own words where it fails."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, *manifests: Mapping[str, Any]) -> str:
        """Applies manifests, in order, and returns what kubectl prints."""
        return self("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def get(self, *arguments: str) -> dict[str, Any]:
        """Returns `kubectl get …` as a dictionary."""
        loaded: dict[str, Any] = json.loads(self("get", *arguments, "-o", "json"))
        return loaded

    def find(self, *arguments: str) -> dict[str, Any] | None:
        """Returns `kubectl get …` as a dictionary, `None` where there is no such object."""
        printed = self("get", *arguments, "--ignore-not-found", "-o", "json")
        return json.loads(printed) if printed.strip() else None

    @contextlib.contextmanager
    def port_forward(self, target: str, port: int, timeout: float = 30) -> Iterator[str]:
        """Gives the URL on 127.0.0.1 behind which `target` (say `service/name`) answers while the block runs.

        Raises `KubectlError` where it does not come up within `timeout` seconds.
        """
        process = subprocess.Popen(
            self.command("port-forward", "--address", "127.0.0.1", target, f":{port}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield f"http://127.0.0.1:{_forwarded_port(process, target, timeout)}"
        finally:
            process.terminate()
            process.communicate()


def _forwarded_port(process: "subprocess.Popen[str]", target: str, timeout: float) -> int:
    deadline = time.monotonic() + timeout
    stdout, stderr = process.stdout, process.stderr
    if stdout is None or stderr is None:
        raise ValueError("both of the process's outputs must be pipes")
    while (left := deadline - time.monotonic()) > 0:
        if select.select([stdout], [], [], left)[0]:
            line = stdout.readline()
            if found := re.search(r"127\.0\.0\.1:(\d+)", line):
                return int(found.group(1))
            if not line:
                raise KubectlError(f"port-forward to {target}: {stderr.read().strip()}")
    raise KubectlError(f"port-forward to {target}: nothing within {timeout:.0f} s")
