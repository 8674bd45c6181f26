"""A snapshot as files: the same knowledge gives the same bytes, from the lake or the store."""

import json
from hashlib import blake2b
from pathlib import Path

from lifeloop.contracts import Snapshot
from lifeloop.store.lake.files import Files
from lifeloop.store.lake.parts import parquet


def write_snapshot(snapshot: Snapshot, folder: Path) -> dict[str, str]:
    """Write events, users, items and ``snapshot.json``; return the hash of each file."""
    files = Files(str(folder))
    hashes: dict[str, str] = {}
    for name in ("events", "users", "items"):
        data = parquet(getattr(snapshot, name))
        files.write(f"{name}.parquet", data)
        hashes[f"{name}.parquet"] = blake2b(data, digest_size=16).hexdigest()
    about = {"as_of_us": snapshot.as_of_us, "seq": snapshot.seq, "files": hashes}
    files.write("snapshot.json", (json.dumps(about, indent=1, sort_keys=True) + "\n").encode())
    return hashes
