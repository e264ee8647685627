"""The local provider: a whole cluster on this machine, in Linux namespaces of its own."""
