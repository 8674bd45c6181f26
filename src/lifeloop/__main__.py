"""``python -m lifeloop`` is the command ``lifeloop``."""

from lifeloop.cli import main

main()
