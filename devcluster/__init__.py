"""Gives `make run` and the tests a Kubernetes cluster: the current one, kind, or a local one."""
