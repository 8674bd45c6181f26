"""The transformer as an ONNX graph of one history; built node by node, so nothing is traced.

Inputs: x [L, d], the item vectors with positions added, and bias [layers, H, L, L], what masks,
places and gaps add to the attention. Output: state [1, d] of the last place. The last block asks
for that place only.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]


def graph(weights: Weights, *, layers: int, heads: int, width: int) -> bytes:
    """Return the serialised model.

    Parameters
    ----------
    weights : dict
        ``Network.state_dict()`` as arrays.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    e = width // heads
    nodes: list[Any] = []
    held: list[Any] = []

    def constant(name: str, value: NDArray[Any]) -> str:
        held.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def node(kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def linear(x: str, layer: str, name: str) -> str:
        product = node(
            "MatMul", [x, constant(f"{layer}.w", weights[f"{layer}.weight"].T)], f"{name}.m"
        )
        return node("Add", [product, constant(f"{layer}.b", weights[f"{layer}.bias"])], name)

    def norm(x: str, layer: str, name: str) -> str:
        scale = constant(f"{layer}.w", weights[f"{layer}.weight"])
        shift = constant(f"{layer}.b", weights[f"{layer}.bias"])
        return node("LayerNormalization", [x, scale, shift], name, axis=-1, epsilon=1e-5)

    split = constant("split", np.array([-1, heads, e], dtype=np.int64))
    flat = constant("flat", np.array([-1, width], dtype=np.int64))
    scale = constant("scale", np.array(e**-0.5, dtype=np.float32))
    last_from = constant("last_from", np.array([-1], dtype=np.int64))
    last_to = constant("last_to", np.array([2**31], dtype=np.int64))
    rows = constant("rows", np.array([0], dtype=np.int64))
    bias_rows = constant("bias_rows", np.array([1], dtype=np.int64))
    x = "x"
    for layer in range(layers):
        b = f"blocks.{layer}"
        inner = norm(x, f"{b}.norm_attention", f"{b}.n1")
        w, shift = weights[f"{b}.qkv.weight"], weights[f"{b}.qkv.bias"]
        at = constant(f"{b}.at", np.array(layer, dtype=np.int64))
        bias = node("Gather", ["bias", at], f"{b}.bias", axis=0)  # [H, L, L]
        asked = inner
        if layer == layers - 1:
            asked = node("Slice", [inner, last_from, last_to, rows], f"{b}.asked")
            x = node("Slice", [x, last_from, last_to, rows], f"{b}.x")
            bias = node("Slice", [bias, last_from, last_to, bias_rows], f"{b}.bias_last")
        parts = {}
        for place, (name, source) in enumerate((("q", asked), ("k", inner), ("v", inner))):
            part = slice(place * width, (place + 1) * width)
            product = node("MatMul", [source, constant(f"{b}.{name}.w", w[part].T)], f"{b}.{name}m")
            summed = node("Add", [product, constant(f"{b}.{name}.b", shift[part])], f"{b}.{name}s")
            shaped = node("Reshape", [summed, split], f"{b}.{name}r")  # [L, H, e]
            order = [1, 2, 0] if name == "k" else [1, 0, 2]
            parts[name] = node("Transpose", [shaped], f"{b}.{name}", perm=order)
        product = node("MatMul", [parts["q"], parts["k"]], f"{b}.qk")  # [H, L, L]
        scaled = node("Mul", [product, scale], f"{b}.scaled")
        weight = node(
            "Softmax", [node("Add", [scaled, bias], f"{b}.biased")], f"{b}.weight", axis=-1
        )
        seen = node("MatMul", [weight, parts["v"]], f"{b}.seen")  # [H, L, e]
        turned = node("Transpose", [seen], f"{b}.turned", perm=[1, 0, 2])
        joined = node("Reshape", [turned, flat], f"{b}.joined")
        x = node("Add", [x, linear(joined, f"{b}.out", f"{b}.o")], f"{b}.x1")
        up = linear(norm(x, f"{b}.norm_inner", f"{b}.n2"), f"{b}.up", f"{b}.u")
        down = linear(node("Relu", [up], f"{b}.relu"), f"{b}.down", f"{b}.d")
        x = node("Add", [x, down], f"{b}.x2")
    if not layers:
        x = node("Slice", [x, last_from, last_to, rows], "only")
    norm(x, "last", "state")
    kind = TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "transformer",
            [
                helper.make_tensor_value_info("x", kind, ["L", width]),
                helper.make_tensor_value_info("bias", kind, [layers, heads, "L", "L"]),
            ],
            [helper.make_tensor_value_info("state", kind, [1, width])],
            held,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    checker.check_model(model)
    return bytes(model.SerializeToString())
