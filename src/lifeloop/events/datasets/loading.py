"""From a name or a folder to a data set; folders are known by what is in them."""

from collections.abc import Callable
from pathlib import Path

from lifeloop.errors import InputError
from lifeloop.events.datasets import films, packaged, shops
from lifeloop.events.datasets.dataset import Dataset, Part
from lifeloop.events.fields import Kind
from lifeloop.events.readers import ReadOptions

Loader = Callable[[Path, Path], Dataset]

_NAMED: dict[str, Callable[[Path], Dataset]] = {
    "completejourney": packaged.completejourney,
    "movielens": packaged.movielens,
}
_FOLDERS: tuple[tuple[Callable[[Path], bool], Loader], ...] = (
    (films.is_ml_100k, films.ml_100k),
    (films.is_ml_1m, films.ml_1m),
    (shops.is_online_retail, shops.online_retail),
    (shops.is_cdnow, shops.cdnow),
    (shops.is_rechorus, shops.rechorus),
    (shops.is_amazon_reviews, shops.amazon_reviews),
    (shops.is_taobao, shops.taobao),
    (shops.is_sequences, shops.sequences),
)
_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("item", ("items", "item_data", "products")),
    ("user", ("users", "user_data", "customers")),
    ("event", ("events", "interactions", "transactions")),
)


def dataset_names() -> tuple[str, ...]:
    """Return the data sets that can be asked for by name."""
    return tuple(_NAMED)


def load(name_or_path: str | Path, *, work: str | Path) -> Dataset:
    """Return a data set as files that the public import reads.

    Parameters
    ----------
    name_or_path : ``completejourney``, ``movielens``, or a folder (or one file of it). Known
        folders: MovieLens 100K and 1M, Online Retail, CDNOW, ReChorus and Amazon reviews,
        Taobao's UserBehavior, SASRec sequences; else one with ``items``, ``users`` and ``events``
        files. They are known by their files and columns, whatever the folder is called.
    work : folder for files that have to be rewritten first; the caller removes it.

    Raises
    ------
    MissingExtra
        The package that carries the data is not installed.
    InputError
        Nothing of that name; a folder whose content is not known.
    """
    work = Path(work)
    if str(name_or_path) in _NAMED:
        return _NAMED[str(name_or_path)](work)
    path = Path(name_or_path)
    if not path.exists():
        raise InputError(
            "no such data set",
            got=str(name_or_path),
            allowed=f"{', '.join(_NAMED)}, or a folder",
            hint="check the spelling, or give the path of a folder",
        )
    folder = path if path.is_dir() else path.parent
    if path.is_file() and shops.is_sequence_file(path):
        return shops.sequences(path, work)
    for fits, loader in _FOLDERS:
        if fits(folder):
            return loader(folder, work)
    return _plain(folder)


def _plain(folder: Path) -> Dataset:
    """A folder with files called items, users and events, of any format that is read."""
    parts = []
    for kind, names in _KINDS:
        found = sorted(p for p in folder.iterdir() if p.is_file() and p.name.split(".")[0] in names)
        parts += [Part(kind, path, ReadOptions()) for path in found]
    if not any(part.kind == "event" for part in parts):
        raise InputError(
            "what is in the folder is not known",
            got=sorted(p.name for p in folder.iterdir())[:20],
            allowed="a known data set, or files called items.*, users.* and events.*",
            hint="import the files one by one: lifeloop import items | users | events",
        )
    return Dataset(name=folder.name, scenario="ecommerce", parts=tuple(parts))
