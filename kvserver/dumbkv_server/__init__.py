"""DumbKV's server: a key-value store over HTTP whose keys are secrets."""

from importlib.metadata import version

__version__ = version("dumbkv-server")
