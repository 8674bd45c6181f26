"""What ``lifeloop doctor`` asks of a database: is it whole, does it agree with itself."""

from lifeloop.store.checks.examined import examined

__all__ = ["examined"]
