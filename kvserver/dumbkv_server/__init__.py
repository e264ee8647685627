"""DumbKV's server: a key-value store over HTTP whose keys are secrets."""
