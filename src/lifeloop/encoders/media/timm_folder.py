"""A model folder of timm, opened by timm itself."""

import functools
from pathlib import Path
from typing import Any

from lifeloop.encoders.readable import folder_digest
from lifeloop.encoders.transformer import incomplete
from lifeloop.errors import InputError


def load_timm(folder: Path) -> Any:
    """Return a timm model without its classifier, ready to be asked; kept by the process.

    It answers pictures [n, 3, h, w] with pooled features [n, d]. (transformers wraps timm too, but
    refuses the folders that timm has saved since it states ``num_classes`` among ``model_args``.)

    Raises
    ------
    InputError
        timm or torchvision cannot be loaded, or files are missing or cut.
    """
    return _opened(folder, folder_digest(folder))


@functools.lru_cache(maxsize=4)
def _opened(folder: Path, digest: str) -> Any:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch
        raise InputError(
            f"timm could not be loaded ({type(error).__name__}: {str(error)[:200]})",
            got=str(folder),
            hint="pip install timm, and the torchvision that belongs to the installed torch",
        ) from error
    try:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    except Exception as error:  # RuntimeError, SafetensorError, KeyError … of damaged files
        raise incomplete(folder, error) from error
    return model.eval()
