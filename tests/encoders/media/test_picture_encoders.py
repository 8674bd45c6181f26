"""Pictures to vectors: EfficientNet as ONNX, and model folders built by the test itself."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifeloop.encoders import VectorCache
from lifeloop.encoders.media import OnnxPictures, VisionFolder, encode_files, notes_on
from lifeloop.errors import InputError

pytestmark = pytest.mark.extras

Image = pytest.importorskip("PIL.Image")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("efficientnet_lite_pytorch")
    from lifeloop.encoders.media.efficientnet import export_efficientnet

    folder = tmp_path_factory.mktemp("built") / "efficientnet"
    assert export_efficientnet(folder)["agreement"] >= 0.999
    return folder


def noise(seed: int, path: Path) -> None:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    coarse.resize((80, 60)).save(path)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "sub").mkdir(parents=True)
    for n in range(5):
        noise(n, root / f"{n}.png")
    shutil.copy(root / "0.png", root / "sub" / "same.png")
    (root / "broken.jpg").write_bytes(b"MZ not a picture")
    (root / "empty.jpg").write_bytes(b"")
    (tmp_path / "secret.png").write_bytes((root / "1.png").read_bytes())
    return root


NAMES: list[str | None] = [
    "0.png", "sub/same.png", None, "1.png", "broken.jpg", "empty.jpg", "gone.png", "",
    "../secret.png", "https://example.com/a.jpg", "sub", "2.png", "0.png",
]  # fmt: skip


def test_a_catalogue_is_encoded_once_per_content_and_every_gap_has_its_reason(
    network: Path, shelf: Path, tmp_path: Path
) -> None:
    seen: list[tuple[float, float | None]] = []
    made = encode_files(
        NAMES, OnnxPictures(network), root=shelf, cache=VectorCache(tmp_path / "cache"),
        step="encode pictures", progress=lambda step, done, total: seen.append((done, total)),
    )  # fmt: skip
    assert made.rows.tolist() == [0, 0, -1, 1, -1, -1, -1, -1, -1, -1, -1, 2, 0]
    assert made.vectors.shape == (3, 1280)
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1.0, atol=1e-5)
    assert made.named == 11
    assert {reason: count for reason, (count, _) in made.why.items()} == {
        "not a picture": 1,
        "an empty file": 1,
        "not there": 1,
        "outside the media folder": 1,
        "an address, which is not fetched": 1,
        "not a plain file": 1,
    }
    assert [float(x or 0) for x in seen[-1]] == [4.0, 4.0]
    assert any("not a picture (broken.jpg)" in note for note in notes_on("picture", made))


class Counting:
    """The encoder of a folder, counting the files it is asked for; fails when told to."""

    def __init__(self, inner: Any, *, fail_after: int | None = None) -> None:
        self.inner, self.asked, self.fail_after = inner, 0, fail_after
        self.id, self.d = inner.id, inner.d

    def encode(self, files: Any) -> Any:
        if self.fail_after is not None and self.asked >= self.fail_after:
            raise KeyboardInterrupt
        self.asked += len(files)
        return self.inner.encode(files)


class Levels:
    """A cheap stand-in: the mean colour of thirds."""

    id, d = "levels", 9

    def encode(self, files: Any) -> Any:
        from lifeloop.encoders.media import read_picture

        rows = [
            read_picture(f, resize=48, crop=48).reshape(3, -1, 3).mean(1).ravel() for f in files
        ]
        made = np.stack(rows) / np.linalg.norm(np.stack(rows), axis=1, keepdims=True)
        return made.astype(np.float32), (None,) * len(files)


def test_an_interrupted_run_goes_on_and_a_repaired_file_is_read(tmp_path: Path) -> None:
    for n in range(130):
        noise(n, tmp_path / f"{n}.png")
    names = [f"{n}.png" for n in range(130)]
    cache = VectorCache(tmp_path / "cache")
    with pytest.raises(KeyboardInterrupt):
        encode_files(names, Counting(Levels(), fail_after=64), root=tmp_path, cache=cache)
    rest = Counting(Levels())
    made = encode_files(names, rest, root=tmp_path, cache=cache)
    assert rest.asked == 130 - 64
    plain = encode_files(names, Levels(), root=tmp_path)
    np.testing.assert_array_equal(made.vectors, plain.vectors)
    noise(999, tmp_path / "7.png")
    again = Counting(Levels())
    changed = encode_files(names, again, root=tmp_path, cache=cache)
    assert again.asked == 1
    assert not np.allclose(changed.vectors[7], made.vectors[7])


def test_another_encoder_of_the_same_width_never_answers(tmp_path: Path) -> None:
    noise(1, tmp_path / "a.png")
    cache = VectorCache(tmp_path / "cache")
    encode_files(["a.png"], Levels(), root=tmp_path, cache=cache)
    other = Counting(Levels())
    other.id = "levels/2"
    encode_files(["a.png"], other, root=tmp_path, cache=cache)
    assert other.asked == 1


def test_changed_weights_or_sizes_make_another_encoder(network: Path, tmp_path: Path) -> None:
    copy = tmp_path / "efficientnet"
    shutil.copytree(network, copy)
    assert OnnxPictures(copy).id == OnnxPictures(network).id
    told = json.loads((copy / "lifeloop_picture_encoder.json").read_text())
    (copy / "lifeloop_picture_encoder.json").write_text(json.dumps({**told, "resize": 230}))
    assert OnnxPictures(copy).id != OnnxPictures(network).id


@pytest.mark.parametrize("lost", ["model.onnx", "lifeloop_picture_encoder.json", "half"])
def test_an_incomplete_folder_is_refused(
    lost: str, network: Path, shelf: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "efficientnet"
    shutil.copytree(network, copy)
    if lost == "half":
        raw = (copy / "model.onnx").read_bytes()
        (copy / "model.onnx").write_bytes(raw[: len(raw) // 2])
    else:
        (copy / lost).unlink()
    with pytest.raises(InputError, match="encoders build efficientnet"):
        OnnxPictures(copy).encode([shelf / "1.png"])


def clip(folder: Path) -> None:
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16,
                     "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 12},
        vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                       "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
                       "projection_dim": 12},
        projection_dim=12,
    )  # fmt: skip
    transformers.CLIPModel(config).save_pretrained(folder)
    told = {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(told))


def vit(folder: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=8,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    told = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))


def convnext(folder: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ConvNextConfig(
        hidden_sizes=[8, 12], depths=[1, 1], num_stages=2, image_size=32
    )
    transformers.ConvNextModel(config).save_pretrained(folder)
    told = {"size": {"shortest_edge": 32}, "crop_pct": 0.875}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))


@pytest.mark.parametrize(("build", "d"), [(clip, 12), (vit, 16), (convnext, 12)])
def test_a_model_folder_gives_one_unit_vector_per_picture(
    build: Callable[[Path], None], d: int, shelf: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    build(folder)
    encoder = VisionFolder(folder)
    vectors, reasons = encoder.encode([shelf / "0.png", shelf / "broken.jpg", shelf / "1.png"])
    assert encoder.d == d
    assert reasons == (None, "not a picture", None)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-5)
    alone, _ = encoder.encode([shelf / "1.png"])
    np.testing.assert_allclose(alone[0], vectors[2], atol=1e-5)
    assert not np.allclose(vectors[0], vectors[2])


def test_clip_answers_what_the_library_answers(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    clip(folder)
    Image.open(shelf / "0.png").resize((32, 32)).save(tmp_path / "square.png")
    levels = np.asarray(Image.open(tmp_path / "square.png"), dtype=np.float32) / 255.0
    pixels = (levels - [0.48, 0.46, 0.41]) / 0.27
    fed = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    with torch.inference_mode():
        model = transformers.CLIPModel.from_pretrained(folder).eval()
        held = model.visual_projection(model.vision_model(pixel_values=fed).pooler_output)[0]
    told = held.numpy() / np.linalg.norm(held.numpy())
    vectors, _ = VisionFolder(folder).encode([tmp_path / "square.png"])
    np.testing.assert_allclose(vectors[0], told, atol=1e-5)


def test_a_model_folder_without_its_weights_is_refused(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    folder.mkdir()
    vit(folder)
    state = json.loads((folder / "config.json").read_text())
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="could not be loaded"):
        VisionFolder(folder).encode([shelf / "0.png"])
    state.pop("architectures")
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError):
        VisionFolder(folder).encode([shelf / "0.png"])
    with pytest.raises(InputError, match="no vision model"):
        VisionFolder(tmp_path / "nothing")


def test_neighbours_of_clothes_share_their_class(
    network: Path, shared_data: Callable[[str], Path]
) -> None:
    root = shared_data("clothing_images")
    names = sorted(str(p.relative_to(root)) for p in root.rglob("*.jpg"))[::8]
    made = encode_files(names, OnnxPictures(network), root=root)
    assert len(made.vectors) == len(names) == 50
    kind = np.array([name.split("/")[0] for name in names])
    rows = made.vectors - made.vectors.mean(0)
    near = rows @ rows.T / np.outer(*(2 * [np.linalg.norm(rows, axis=1)]))
    np.fill_diagonal(near, -9)
    share = (kind[np.argsort(-near, axis=1)[:, :3]] == kind[:, None]).mean()
    assert share > 0.35  # chance: .08
