"""Any fitted retriever as folders of arrays, and back: what a bundle keeps.

A single model is one folder, ``model``. A blend is ``model`` (names, weights, notes) and one
folder per part, such as ``part00.popularity``. Part-key order is the order of the parts.
"""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from lifeloop.contracts import FittedRetriever
from lifeloop.errors import BundleError
from lifeloop.models import arrays as ar
from lifeloop.models.blended import FittedBlend
from lifeloop.models.neural.sasrec import FittedSasrec
from lifeloop.models.neural.served import FittedClassic
from lifeloop.models.rank.reranked import FittedRanked
from lifeloop.models.retrieve.als import FittedAls
from lifeloop.models.retrieve.bpr import FittedBpr
from lifeloop.models.retrieve.chance import FittedChance
from lifeloop.models.retrieve.content import FittedContent
from lifeloop.models.retrieve.ease import FittedEase
from lifeloop.models.retrieve.mapped import FittedMapped
from lifeloop.models.retrieve.neighbours import FittedNeighbours
from lifeloop.models.retrieve.popularity import FittedPopularity
from lifeloop.models.retrieve.replenish import FittedReplenish
from lifeloop.models.retrieve.userknn import FittedUserKNN

Arrays = Mapping[str, NDArray[Any]]

KINDS: dict[str, type[Any]] = {
    "popularity": FittedPopularity,
    "content": FittedContent,
    "text_map": FittedMapped,
    "neighbours": FittedNeighbours,
    "ease": FittedEase,
    "als": FittedAls,
    "replenish": FittedReplenish,
    "random": FittedChance,
    "bpr": FittedBpr,
    "userknn": FittedUserKNN,
    "sasrec": FittedSasrec,
    "classic": FittedClassic,
    "blend": FittedBlend,
    "ranked": FittedRanked,
}


def to_parts(fitted: FittedRetriever) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the state of a fitted retriever as {folder: {array name: array}}."""
    arrays = {"kind": ar.text(kind_of(fitted)), **fitted.arrays()}
    parts: dict[str, dict[str, NDArray[Any]]] = {"model": {}}
    for key, value in arrays.items():
        place, _, name = key.partition("/")
        folder = f"part{place}" if name else "model"
        parts.setdefault(folder, {})[name or key] = value
    return parts


def from_parts(parts: Mapping[str, Arrays]) -> FittedRetriever:
    """Rebuild what ``to_parts`` returned; folders of other makers are left alone.

    Raises
    ------
    BundleError
        If an array is missing, the kind is unknown, or parts were made for different catalogues.
    """
    if "model" not in parts:
        raise BundleError("the bundle holds no retriever", got=sorted(parts), allowed="'model'")
    arrays: dict[str, NDArray[Any]] = dict(parts["model"])
    for folder, held in parts.items():
        if folder.startswith("part"):
            arrays.update({f"{folder[4:]}/{name}": value for name, value in held.items()})
    fitted = rebuild(ar.read_text(arrays, "kind"), arrays)
    blend = fitted.blend if isinstance(fitted, FittedRanked) else fitted
    if isinstance(blend, FittedBlend):
        sizes = {part.name: int(getattr(part, "n_items", -1)) for part in blend.parts}
        if len(blend.parts) != len(blend.weights) or set(sizes.values()) - {blend.n_items}:
            raise BundleError(
                "the parts of the blend are not of one making",
                got=sizes,
                allowed=f"{len(blend.weights)} parts of {blend.n_items} items",
                hint="activate a whole bundle; parts of two bundles cannot be mixed",
            )
    return fitted


def kind_of(fitted: FittedRetriever) -> str:
    """Return the word under which this class of fitted object is kept."""
    for kind, cls in KINDS.items():
        if type(fitted) is cls:
            return kind
    raise BundleError(
        "this model cannot be kept in a bundle", got=type(fitted).__name__, allowed=", ".join(KINDS)
    )


def rebuild(kind: str, arrays: Arrays) -> FittedRetriever:
    """Return the fitted object of that kind."""
    if kind not in KINDS:
        raise BundleError(
            "a bundle holds an unknown kind of model",
            got=kind,
            allowed=", ".join(KINDS),
            hint="it was written by another version of lifeloop; train again",
        )
    load: Callable[[Arrays], FittedRetriever] = KINDS[kind].load
    return load(arrays)
