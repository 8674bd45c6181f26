"""Bundles on disk: whole, of one making, and never pickle."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifeloop.errors import BundleError, StoreFull
from lifeloop.store import bundles as module
from lifeloop.store import load_bundle, pack_texts, save_bundle, unpack_texts
from lifeloop.testing.store_suite import ODD_IDS

ARRAYS: dict[str, dict[str, Any]] = {
    "ease": {
        "B": np.arange(12, dtype=np.float32).reshape(3, 4),
        "items": np.array([3, 1, 2], dtype=np.int32),
        "empty": np.zeros((0, 5)),
        "scalar": np.float64(0.1) * 3,
        "flags": np.array([True, False]),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "fixed": np.array(["词", "b"]),
    },
    "ids": pack_texts(ODD_IDS),
    "none": {},
}
MANIFEST = {"config": "abc", "as_of_us": 5, "metrics": {"ndcg@10": 0.0723}, "词": None}


def saved(folder: Path, bundle_id: str = "b1", shift: float = 0.0) -> Path:
    parts = {**ARRAYS, "ease": {**ARRAYS["ease"], "B": ARRAYS["ease"]["B"] + np.float32(shift)}}
    return save_bundle(folder, bundle_id, parts, {**MANIFEST, "shift": shift})


def arrays_of(path: Path) -> list[Path]:
    return sorted(path.rglob("*.npy"))


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("verify", [True, False])
def test_everything_comes_back_read_only(tmp_path: Path, mmap: bool, verify: bool) -> None:
    assert saved(tmp_path / "models") == tmp_path / "models" / "b1"
    bundle = load_bundle(tmp_path / "models", "b1", mmap=mmap, verify=verify)
    assert bundle.id == "b1"
    assert bundle.manifest == {**MANIFEST, "shift": 0.0}
    assert set(bundle.parts) == set(ARRAYS)
    for part, arrays in ARRAYS.items():
        assert set(bundle.parts[part]) == set(arrays)
        for name, array in arrays.items():
            held = bundle.parts[part][name]
            assert held.dtype == np.asarray(array).dtype
            np.testing.assert_array_equal(held, array)
            assert not held.flags.writeable
    assert isinstance(bundle.parts["ease"]["B"], np.memmap) is mmap
    assert unpack_texts(bundle.parts["ids"]) == list(ODD_IDS)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_packed_texts_come_back_unchanged(texts: list[str]) -> None:
    assert unpack_texts(pack_texts(texts)) == texts


def test_a_bundle_never_changes(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(BundleError, match="never change"):
        saved(tmp_path, shift=1.0)
    assert load_bundle(tmp_path, "b1").manifest["shift"] == 0.0


@pytest.mark.parametrize(
    "array", [np.array([{"a": 1}], dtype=object), np.array([None]), np.array(["a", 1], object)]
)
def test_objects_are_never_saved(tmp_path: Path, array: Any) -> None:
    with pytest.raises(BundleError, match="Python objects"):
        save_bundle(tmp_path, "b", {"p": {"ok": np.zeros(1), "bad": array}}, {})
    assert list(tmp_path.iterdir()) == []


def test_objects_are_never_loaded(tmp_path: Path) -> None:
    path = arrays_of(saved(tmp_path))[0]
    size = path.stat().st_size
    with path.open("wb") as file:
        np.save(file, np.array([print], dtype=object), allow_pickle=True)
    os.truncate(path, size)
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(tmp_path, "b1")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "x" * 101, "词", "-a"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    ok = {"p": {"a": np.zeros(1)}}
    for bundle_id, parts in (
        (name, ok),
        ("b", {name: {"a": np.zeros(1)}}),
        ("b", {"p": {name: np.zeros(1)}}),
    ):
        with pytest.raises(BundleError, match="name cannot be used"):
            save_bundle(tmp_path, bundle_id, parts, {})
    with pytest.raises(BundleError, match="not the id"):
        load_bundle(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_parts_of_two_bundles_are_refused(tmp_path: Path) -> None:
    one, two = saved(tmp_path, "b1"), saved(tmp_path, "b2", shift=1.0)
    shutil.rmtree(one / "ease")
    shutil.copytree(two / "ease", one / "ease")
    with pytest.raises(BundleError, match=r"belongs to another bundle.*b2 in b1"):
        load_bundle(tmp_path, "b1")


def test_a_retrained_part_put_into_an_old_bundle_is_refused(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "old"), saved(tmp_path / "new", shift=1.0)  # the same id
    shutil.rmtree(one / "ease")
    shutil.copytree(two / "ease", one / "ease")
    with pytest.raises(BundleError, match="part of the bundle is damaged"):
        load_bundle(tmp_path / "old", "b1")


def test_one_array_of_another_bundle_is_refused_without_reading_it(tmp_path: Path) -> None:
    one, two = saved(tmp_path, "b1"), saved(tmp_path, "b2", shift=1.0)
    (old,) = one.glob("ease/B-*.npy")
    (new,) = two.glob("ease/B-*.npy")
    assert old.stat().st_size == new.stat().st_size
    old.unlink()
    shutil.copy(new, one / "ease")
    with pytest.raises(BundleError, match="is missing"):
        load_bundle(tmp_path, "b1")


def test_a_renamed_folder_is_refused(tmp_path: Path) -> None:
    saved(tmp_path).rename(tmp_path / "b7")
    with pytest.raises(BundleError, match=r"another name.*b1 in b7"):
        load_bundle(tmp_path, "b7")


def test_an_absent_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        load_bundle(tmp_path, "b1")


def test_every_missing_cut_or_grown_file_is_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole")
    for n, path in enumerate(p for p in sorted(whole.rglob("*")) if p.is_file()):
        for how in ("missing", "cut", "grown", "empty"):
            folder = tmp_path / f"{n}{how}"
            shutil.copytree(tmp_path / "whole", folder)
            victim = folder / "b1" / path.relative_to(whole)
            if how == "missing":
                victim.unlink()
            elif how == "cut":
                os.truncate(victim, victim.stat().st_size - 1)
            elif how == "grown":
                victim.write_bytes(victim.read_bytes() + b"}")
            else:
                victim.write_bytes(b"")
            with pytest.raises(BundleError):
                load_bundle(folder, "b1")


def test_a_flipped_bit_is_found_when_asked(tmp_path: Path) -> None:
    for path in arrays_of(saved(tmp_path)):
        raw = bytearray(path.read_bytes())
        if path.name.startswith("empty"):
            continue
        raw[-1] ^= 1
        path.write_bytes(bytes(raw))
        with pytest.raises(BundleError, match="has changed"):
            load_bundle(tmp_path, "b1", verify=True)
        raw[-1] ^= 1
        path.write_bytes(bytes(raw))
    load_bundle(tmp_path, "b1", verify=True)


def test_an_edited_manifest_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path) / "manifest.json"
    path.write_text(path.read_text("utf-8").replace("0.0723", "0.9999"), "utf-8")
    with pytest.raises(BundleError, match="manifest of the bundle is damaged"):
        load_bundle(tmp_path, "b1")


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "schema": 2}), "utf-8")
    with pytest.raises(BundleError, match=r"newer lifeloop.*layout 2"):
        load_bundle(tmp_path, "b1")


def test_a_bundle_that_could_not_be_finished_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = module._write, []

    def full(path: Path, text: str) -> None:
        calls.append(path.name)
        if path.name == "manifest.json":
            raise OSError(28, "No space left on device")
        real(path, text)

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(StoreFull, match="nothing of it was kept"):
        saved(tmp_path)
    assert "manifest.json" in calls
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    saved(tmp_path)


def test_a_draft_left_by_a_killed_training_is_not_a_bundle(tmp_path: Path) -> None:
    shutil.copytree(saved(tmp_path / "x"), tmp_path / "y" / ".draft-b1-abc")
    with pytest.raises(BundleError, match="no such bundle"):
        load_bundle(tmp_path / "y", "b1")


def test_a_manifest_that_is_not_json_is_refused_before_the_end(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_bundle(tmp_path, "b", {}, {"ndcg": float("nan")})
    assert list(tmp_path.iterdir()) == []
