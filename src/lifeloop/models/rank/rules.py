"""A single decision tree as rules in words: each leaf, what leads there, and its share of hits."""

from typing import Any

from lifeloop.models.rank.boosted import FittedBooster


def rules(fitted: FittedBooster) -> tuple[str, ...]:
    """Return one line per leaf of the first tree, the highest value first.

    A feature that is missing goes with the side that the rule names "or unknown".
    """
    (tree,) = fitted.booster.dump_model(num_iteration=1)["tree_info"]
    leaves: list[tuple[float, str]] = []
    _walk(tree["tree_structure"], fitted.names, [], leaves)
    leaves.sort(key=lambda leaf: (-leaf[0], leaf[1]))
    return tuple(f"{path or 'always'} → {value:.4f}" for value, path in leaves)


def _walk(
    node: dict[str, Any], names: tuple[str, ...], path: list[str], leaves: list[tuple[float, str]]
) -> None:
    if "split_feature" not in node:
        leaves.append((float(node["leaf_value"]), " and ".join(path)))
        return
    name, edge = names[node["split_feature"]], float(node["threshold"])
    unknown = ["", ""]
    if node["missing_type"] == "NaN":
        unknown[0 if node["default_left"] else 1] = " or unknown"
    _walk(node["left_child"], names, [*path, f"{name} ≤ {edge:.3g}{unknown[0]}"], leaves)
    _walk(node["right_child"], names, [*path, f"{name} > {edge:.3g}{unknown[1]}"], leaves)
