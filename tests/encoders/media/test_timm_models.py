"""Folders that timm itself saved, where timm is installed (see docs/media.md)."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifeloop.encoders.media import VisionFolder
from lifeloop.encoders.media.picture import read_picture
from lifeloop.errors import InputError

pytestmark = pytest.mark.extras

Image = pytest.importorskip("PIL.Image")
torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def timm() -> Any:
    """Return timm; beside a torch of another build its torchvision lacks two operators."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
    return pytest.importorskip("timm")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    found = []
    for n in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        found.append(tmp_path / f"{n}.png")
        coarse.resize((240, 200)).save(found[-1])
    return found


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_a_folder_that_timm_saved_gives_the_features_that_timm_gives(
    timm: Any, pictures: list[Path], tmp_path: Path, name: str
) -> None:
    from timm.models import save_for_hf

    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=10).eval()
    folder = tmp_path / name
    save_for_hf(model, str(folder))
    encoder = VisionFolder(folder)
    vectors, why = encoder.encode(pictures)
    assert why == (None, None, None)
    stated = model.pretrained_cfg
    side = stated["input_size"][-1]
    read = [read_picture(p, resize=round(side / stated["crop_pct"]), crop=side) for p in pictures]
    pixels = torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2) / 255.0
    mean, std = (torch.tensor(stated[k])[:, None, None] for k in ("mean", "std"))
    with torch.inference_mode():
        states = model.forward_features((pixels - mean) / std)
        own = model.forward_head(states, pre_logits=True).numpy()
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    assert (vectors * own).sum(1) == pytest.approx(np.ones(3), abs=1e-4)
    assert encoder.d == own.shape[1]


def test_a_cut_folder_of_timm_is_refused(timm: Any, pictures: list[Path], tmp_path: Path) -> None:
    from timm.models import save_for_hf

    model = timm.create_model("test_resnet", pretrained=False)
    save_for_hf(model, str(tmp_path / "cut"), safe_serialization=True)
    weights = next((tmp_path / "cut").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(InputError, match="files are missing or cut"):
        VisionFolder(tmp_path / "cut").encode(pictures)
