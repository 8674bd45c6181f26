"""Ours and theirs through one evaluation: ``python -m benchmarks.accuracy --help``."""
