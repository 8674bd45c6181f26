"""Open an exported network with ONNX Runtime, on the processor and on so many threads."""

from pathlib import Path
from typing import Any

from lifeloop.errors import MissingExtra

SLOW = ["SkipLayerNormFusion"]
"""Fusions left out: the fused kernel takes over four times what its two parts take."""


def onnx_session(model: Path | bytes, *, needed_for: str, threads: int = 1) -> Any:
    """Return an ``onnxruntime.InferenceSession`` that says nothing but errors.

    Parameters
    ----------
    model : Path or bytes
        A file, or what such a file holds.
    needed_for : str
        What cannot be done without onnxruntime, for the message.
    threads : int
        Of one answer.

    Raises
    ------
    MissingExtra
        onnxruntime is not installed.
    Exception
        Of onnxruntime's own kinds, where the model is damaged.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra(needed_for, "onnx") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    whole = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(
        whole, options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW
    )
