"""DumbKV's Kubernetes operator: runs DumbKV servers from DumbKV resources."""
