"""Model bundles on disk: plain arrays that can be memory-mapped, and a manifest. Never pickle.

A bundle is one folder, written once and renamed into place whole::

    <folder>/<bundle_id>/manifest.json              the caller's manifest, hash of every part
    <folder>/<bundle_id>/<part>/part.json           stamped with the bundle id; its arrays
    <folder>/<bundle_id>/<part>/<array>-<hash>.npy  one array

Every file is tied to the one above it by a hash, so ids, vectors and models that were not
saved together do not load together.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeloop.errors import BundleError, StoreFull
from lifeloop.store.whole import made_folder, sync_folder

SCHEMA = 1
"""Version of the layout above."""

Array = NDArray[Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DAMAGED = "restore the bundle from a backup, or train again; `models list` shows the others"


@dataclass(frozen=True, slots=True)
class Bundle:
    """One loaded bundle: ``parts[part][array]``, all read-only."""

    id: str
    manifest: Mapping[str, Any]
    parts: Mapping[str, Mapping[str, Array]]


def save_bundle(
    folder: Path,
    bundle_id: str,
    parts: Mapping[str, Mapping[str, Array]],
    manifest: Mapping[str, Any],
) -> Path:
    """Write a bundle, all of it or nothing, durably.

    Parameters
    ----------
    folder : Path
        Where bundles live; made if absent.
    bundle_id, parts
        Names of letters, digits, ``.``, ``_`` and ``-``, at most 100 long. Arrays of any shape
        and of any type but objects; see ``pack_texts`` for texts.
    manifest : Mapping
        JSON data of the caller.

    Returns
    -------
    Path
        The bundle's folder.

    Raises
    ------
    BundleError
        If a name or an array is not allowed, or the bundle exists.
    StoreFull
        If there is no room; nothing is left behind.
    """
    _check(bundle_id, parts)
    final = folder / bundle_id
    if final.exists():
        raise BundleError(
            "a bundle of this id exists, and bundles never change",
            got=str(final),
            hint="give every trained bundle a new id",
        )
    made_folder(folder)
    draft = Path(tempfile.mkdtemp(prefix=f".draft-{bundle_id}-", dir=folder))
    try:
        hashes = {name: _write_part(draft, bundle_id, name, parts[name]) for name in parts}
        body = {"schema": SCHEMA, "bundle": bundle_id, "parts": hashes, "manifest": dict(manifest)}
        _write(draft / "manifest.json", _json({**body, "hash": _hash(_json(body))}))
        draft.chmod(0o755)
        sync_folder(draft)
        draft.rename(final)
        sync_folder(folder)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise StoreFull(
                "no room for the model bundle; nothing of it was kept",
                got=str(folder),
                hint="free space, then train again",
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise BundleError("a bundle of this id was saved meanwhile", got=bundle_id) from error
        raise
    return final


def load_bundle(folder: Path, bundle_id: str, *, mmap: bool = True, verify: bool = False) -> Bundle:
    """Load a bundle; every part of it, or an error.

    Parameters
    ----------
    mmap : bool
        Map the arrays into memory instead of reading them: several processes share one copy.
    verify : bool
        Also hash every array. Without it the names, sizes, types and shapes are checked, which
        takes no time that grows with the arrays.

    Raises
    ------
    BundleError
        If the bundle is absent, damaged, of a newer layout, or mixed with another one.
    """
    if not _NAME.fullmatch(bundle_id):
        raise BundleError("not the id of a bundle", got=bundle_id, allowed=_NAME.pattern)
    root = folder / bundle_id
    head = _manifest(root, bundle_id)
    parts = {
        name: _read_part(root, bundle_id, name, told, mmap=mmap, verify=verify)
        for name, told in head["parts"].items()
    }
    return Bundle(bundle_id, head["manifest"], parts)


def pack_texts(texts: Sequence[str]) -> dict[str, Array]:
    """Return texts of any length and script as two arrays, for a part of a bundle."""
    raws = [text.encode() for text in texts]
    ends = np.cumsum([len(raw) for raw in raws], dtype=np.int64)
    return {"utf8": np.frombuffer(b"".join(raws), dtype=np.uint8), "ends": ends}


def unpack_texts(arrays: Mapping[str, Array]) -> list[str]:
    """Return the texts that ``pack_texts`` packed."""
    raw = arrays["utf8"].tobytes()
    ends = arrays["ends"].tolist()
    return [raw[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]


# ---------------------------------------------------------------- writing


def _check(bundle_id: str, parts: Mapping[str, Mapping[str, Array]]) -> None:
    names = [bundle_id, *parts, *(name for arrays in parts.values() for name in arrays)]
    if bad := [name for name in names if not _NAME.fullmatch(name)]:
        raise BundleError("a name cannot be used in a bundle", got=bad, allowed=_NAME.pattern)
    objects = [
        f"{part}/{name}"
        for part, arrays in parts.items()
        for name, array in arrays.items()
        if np.asarray(array).dtype.hasobject
    ]
    if objects:
        raise BundleError(
            "arrays of Python objects are never saved",
            got=objects,
            allowed="numbers, booleans and fixed-width texts",
            hint="use pack_texts for texts",
        )


def _write_part(draft: Path, bundle_id: str, name: str, arrays: Mapping[str, Array]) -> str:
    place = draft / name
    place.mkdir()
    told = {}
    for key in arrays:
        array = np.asarray(arrays[key], order="C")
        path = place / "array.npy"
        with path.open("wb") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        digest = _hash_file(path)
        path.rename(place / _file(key, digest))
        told[key] = {
            "hash": digest,
            "size": (place / _file(key, digest)).stat().st_size,
            "dtype": array.dtype.str,
            "shape": list(array.shape),
        }
    text = _json({"bundle": bundle_id, "part": name, "arrays": told})
    _write(place / "part.json", text)
    sync_folder(place)
    return _hash(text)


def _file(name: str, digest: str) -> str:
    return f"{name}-{digest[:12]}.npy"


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


# ---------------------------------------------------------------- reading


def _manifest(root: Path, bundle_id: str) -> dict[str, Any]:
    path = root / "manifest.json"
    if not path.is_file():
        raise BundleError(
            "there is no such bundle", got=str(root), hint="`models list` shows the others"
        )
    head = _parsed(path)
    if not isinstance(head.get("schema"), int) or head["schema"] > SCHEMA:
        raise BundleError(
            "the bundle was written by a newer lifeloop",
            got=f"layout {head.get('schema')!r} of {bundle_id}",
            allowed=f"layout up to {SCHEMA}",
            hint="install the newer lifeloop, or activate another bundle",
        )
    told = head.pop("hash", None)
    if told != _hash(_json(head)):
        raise BundleError("the manifest of the bundle is damaged", got=str(path), hint=_DAMAGED)
    if head["bundle"] != bundle_id:
        raise BundleError(
            "the folder holds a bundle of another name",
            got=f"{head['bundle']} in {bundle_id}",
            hint="give the folder its own name back",
        )
    return head


def _read_part(
    root: Path, bundle_id: str, name: str, told: str, *, mmap: bool, verify: bool
) -> dict[str, Array]:
    path = root / name / "part.json"
    if not path.is_file():
        raise BundleError("a part of the bundle is missing", got=str(path), hint=_DAMAGED)
    part = _parsed(path)
    if part.get("bundle") != bundle_id:
        raise BundleError(
            "a part belongs to another bundle",
            got=f"part {name!r} of {part.get('bundle')} in {bundle_id}",
            hint="parts of different bundles are never mixed; " + _DAMAGED,
        )
    if _hash(path.read_text("utf-8")) != told:
        raise BundleError("a part of the bundle is damaged", got=str(path), hint=_DAMAGED)
    return {
        key: _read_array(root / name / _file(key, facts["hash"]), facts, mmap=mmap, verify=verify)
        for key, facts in part["arrays"].items()
    }


def _read_array(path: Path, facts: Mapping[str, Any], *, mmap: bool, verify: bool) -> Array:
    if not path.is_file() or path.stat().st_size != facts["size"]:
        what = "is cut or grown" if path.is_file() else "is missing"
        raise BundleError(f"an array of the bundle {what}", got=str(path), hint=_DAMAGED)
    if verify and _hash_file(path) != facts["hash"]:
        raise BundleError("an array of the bundle has changed", got=str(path), hint=_DAMAGED)
    mapped = mmap and 0 not in facts["shape"]  # nothing can be mapped where nothing is
    try:
        array: Array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise BundleError(
            f"an array of the bundle is damaged ({error})", got=str(path), hint=_DAMAGED
        ) from error
    if array.dtype.str != facts["dtype"] or list(array.shape) != facts["shape"]:
        raise BundleError("an array of the bundle has changed", got=str(path), hint=_DAMAGED)
    array.flags.writeable = False
    return array


def _parsed(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BundleError(
            f"{path.name} is damaged ({error})", got=str(path), hint=_DAMAGED
        ) from None
    if not isinstance(held, dict):
        raise BundleError(f"{path.name} is damaged", got=str(path), hint=_DAMAGED)
    return held


def _json(held: Mapping[str, Any]) -> str:
    return json.dumps(held, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
