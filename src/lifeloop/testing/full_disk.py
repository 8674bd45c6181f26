"""A folder that is full after a few MB, and what makes room in it."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(
    place: Path, *, size_mb: int = 4, ballast_mb: int = 1
) -> Iterator[Callable[[], None]]:
    """Make ``place`` a folder on a small disk; yield what frees ``ballast_mb`` of it.

    A small file system of its own where this user may mount one, else a limit of the size of
    every file that this process writes.
    """
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
        ballast = place / "ballast"
        ballast.write_bytes(b"x" * (ballast_mb * 1_000_000))
        try:
            yield ballast.unlink
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((size_mb - ballast_mb) * 1_000_000 * 2 // 3, hard))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
