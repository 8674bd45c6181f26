"""How often somebody may ask: one bucket of tokens per name, bounded in number."""

from collections import OrderedDict

_BUCKETS = 10_000


class Buckets:
    """Token buckets: ``per_s`` tokens flow in, ``burst`` fit in, one request takes one."""

    def __init__(self, *, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at

    def wait_s(self, name: str, *, now_s: float) -> float:
        """Take a token; return 0, or how long to wait where there is none."""
        tokens, at = self._held.pop(name, (self._burst, now_s))
        tokens = min(self._burst, tokens + max(0.0, now_s - at) * self._per_s)
        short = 1.0 - tokens
        self._held[name] = (tokens if short > 0 else tokens - 1.0, now_s)
        while len(self._held) > _BUCKETS:
            self._held.popitem(last=False)
        return short / self._per_s if short > 0 else 0.0

    def empty(self, name: str, *, now_s: float) -> bool:
        """Return whether this name would have to wait, without taking anything."""
        tokens, at = self._held.get(name, (self._burst, now_s))
        return tokens + max(0.0, now_s - at) * self._per_s < 1.0
