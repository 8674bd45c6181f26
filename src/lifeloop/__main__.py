"""``python -m lifeloop``."""

from lifeloop.cli import main

if __name__ == "__main__":
    main()
