"""The scenarios that ship with lifeloop, one TOML file each."""
