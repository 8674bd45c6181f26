"""The commands: thin, each prints a table or one JSON object."""

import os

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    # Before any numeric library loads: spinning OpenMP threads slow small work 100 times.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    from lifeloop.cli.app import app

    app()
