"""A folder of timm without timm: said before anything is loaded."""

import importlib.util
import json
from pathlib import Path

import pytest

from lifeloop.encoders.media import VisionFolder
from lifeloop.errors import InputError


def test_a_folder_of_timm_names_the_package_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    told = {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 32, 32]}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="pip install timm"):
        VisionFolder(tmp_path)


def test_a_folder_that_does_not_say_how_it_takes_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(InputError, match="does not say how it takes pictures"):
        VisionFolder(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_std": [0.5, 0.5, 0]}))
    with pytest.raises(InputError, match="three positive spreads"):
        VisionFolder(tmp_path)
