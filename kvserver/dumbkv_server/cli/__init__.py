"""The `dumbkv` command."""
