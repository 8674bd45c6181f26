"""Everything one process of the service holds open: the loop, keys, rates, metrics."""

import threading
import time
from collections.abc import Mapping

from lifeloop.errors import StoreError
from lifeloop.loop import Lifeloop, now_us
from lifeloop.serve import keys
from lifeloop.serve.metrics import Metrics
from lifeloop.serve.rates import Buckets
from lifeloop.serve.settings import ServeSettings


class Service:
    """What routes are given."""

    def __init__(self, loop: Lifeloop, settings: ServeSettings) -> None:
        self.loop = loop
        self.settings = settings
        self.metrics = Metrics()
        self.rates = Buckets(per_s=settings.requests_per_s, burst=settings.burst)
        self.refusals = Buckets(per_s=settings.refusals_per_s, burst=20 * settings.refusals_per_s)
        self._keys: Mapping[str, keys.Key] | None = None
        self._keys_until = 0.0
        self._lock = threading.Lock()

    def now_us(self) -> int:
        """Return the present moment in microseconds UTC."""
        return now_us()

    def keys(self) -> Mapping[str, keys.Key]:
        """Return every key by id, at most ``key_cache_s`` old; older ones while the store is down.

        Raises
        ------
        StoreError
            The store is down and no key was ever read.
        """
        held = self._keys
        if held is not None and time.monotonic() < self._keys_until:
            return held
        with self._lock:
            if self._keys is not None and time.monotonic() < self._keys_until:
                return self._keys
            self._keys_until = time.monotonic() + self.settings.key_cache_s
            try:
                self._keys = {key.id: key for key in keys.listed(self.loop.store.kept)}
            except StoreError:
                if self._keys is None:
                    self._keys_until = 0.0
                    raise
            return self._keys
