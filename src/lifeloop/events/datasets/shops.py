"""Shops: Online Retail, CDNOW, Amazon cuts, Taobao's log and bare sequences."""

import gzip
from pathlib import Path

import polars as pl

from lifeloop.events.datasets.dataset import Dataset, Part, named_columns, options_of, written

_TAOBAO = {
    "type.view": "pv",
    "type.purchase": "buy",
    "type.add_to_cart": "cart",
    "type.favourite": "fav",
}
_SHANGHAI = "Asia/Shanghai"


def is_online_retail(folder: Path) -> bool:
    """Return whether the folder holds UCI's Online Retail as Parquet."""
    return _table_with(folder, "InvoiceNo", "StockCode", "CustomerID") is not None


def online_retail(folder: Path, work: Path) -> Dataset:
    """Return UCI Online Retail: 541,909 invoice lines of a British gift shop."""
    path = _table_with(folder, "InvoiceNo", "StockCode", "CustomerID")
    lines = pl.read_parquet(path or folder)
    lines = lines.with_columns(
        type=pl.when(pl.col("InvoiceNo").str.starts_with("C") | (pl.col("Quantity") < 0))
        .then(pl.lit("refund"))
        .otherwise(pl.lit("purchase"))
    )
    items = (
        lines.filter(pl.col("Description").is_not_null())
        .group_by("StockCode", pl.col("Description").str.strip_chars().alias("title"))
        .len()
        .sort("StockCode", "len", "title", descending=[False, True, False])
        .unique("StockCode", keep="first", maintain_order=True)
        .select(item_id="StockCode", title="title", kind=pl.lit("product"))
    )
    source, zone = "online_retail", "Europe/London"
    return Dataset(
        name=source,
        scenario="ecommerce",
        parts=(
            Part("item", written(items, work / "items.parquet"), options_of(source=source)),
            Part(
                "event",
                written(lines, work / "lines.parquet"),
                options_of(source=source, zone=zone, currency="GBP"),
            ),
        ),
        notes=(
            "a quarter of the lines have no customer and go to quarantine (missing_user_id)",
            "cancellations (C…) and negative quantities are refunds; they name no earlier order",
            "many customers are wholesale buyers; POST, M, D and the like are not products",
        ),
        zone=zone,
    )


def is_cdnow(folder: Path) -> bool:
    """Return whether the folder holds CDNOW's master file."""
    return (folder / "CDNOW_master.txt").is_file()


def cdnow(folder: Path, work: Path) -> Dataset:
    """Return CDNOW: 69,659 orders of 23,570 customers, without items."""
    lines = (folder / "CDNOW_master.txt").read_text("ascii").splitlines()
    rows = [" ".join(line.split()) for line in lines[1:]]
    table = named_columns(rows, ("user_id", "date", "quantity", "value"), " ")
    source = "cdnow"
    options = options_of(
        {"occurred_at": "date"}, source=source, default_type="purchase", currency="USD"
    )
    return Dataset(
        name=source,
        scenario="ecommerce",
        parts=(Part("event", written(table, work / "orders.parquet"), options),),
        notes=(
            "orders without items: lifecycle and value, no recommendations",
            "times are days; 255 lines repeat another line and are orders of their own",
            "every customer's first order is in the first quarter of 1997 (one cohort)",
        ),
    )


def is_rechorus(folder: Path) -> bool:
    """Return whether the folder is a ReChorus cut: train.csv with user_id, item_id, time."""
    return _first_line(folder / "train.csv") == "user_id\titem_id\ttime"


def rechorus(folder: Path, work: Path) -> Dataset:
    """Return a ReChorus data set; its reviews are read as purchases."""
    source = "rechorus"
    parts = []
    if (folder / "item_meta.csv").is_file():
        parts.append(Part("item", folder / "item_meta.csv", options_of(source=source)))
    options = options_of(source=source, default_type="purchase")
    parts.append(Part("event", folder / "train.csv", options))
    return Dataset(
        name=folder.name,
        scenario="ecommerce",
        parts=tuple(parts),
        notes=(
            "each row is a review and stands for a purchase; times are days, no text",
            "the last two interactions of each user are not in train.csv",
        ),
    )


def is_amazon_reviews(folder: Path) -> bool:
    """Return whether the folder holds McAuley's review columns as Parquet."""
    return _table_with(folder, "reviewerID", "asin", "overall") is not None


def amazon_reviews(folder: Path, work: Path) -> Dataset:
    """Return Amazon reviews with their text."""
    path = _table_with(folder, "reviewerID", "asin", "overall")
    source = "amazon_reviews"
    options = options_of(
        {"occurred_at": "unixReviewTime", "text": "reviewText"},
        source=source,
        default_type="review",
    )
    return Dataset(
        name=folder.name,
        scenario="ecommerce",
        parts=(Part("event", path or folder, options),),
        notes=("times are days; the items have no titles and no prices",),
    )


def is_taobao(folder: Path) -> bool:
    """Return whether the folder holds Alibaba's UserBehavior, with a header or without."""
    return _behaviour_file(folder) is not None


def taobao(folder: Path, work: Path) -> Dataset:
    """Return Taobao's UserBehavior; items from the rows' own columns."""
    path = _behaviour_file(folder) or folder
    source = "taobao"
    if "行为类型" in _first_line(path):
        mapping = {
            "user_id": "用户ID",
            "item_id": "商品ID",
            "type": "行为类型",
            "occurred_at": "时间戳",
            **_TAOBAO,
        }
        table = pl.read_csv(path, infer_schema=False)
        items = table.select(
            item_id="商品ID",
            title="商品名称",
            brand="品牌",
            price="售价",
            categories="商品类别",
            category_id="商品类目ID",
        ).unique("item_id", keep="last", maintain_order=True)
        notes: tuple[str, ...] = (
            "names and prices were invented onto Taobao's ids: not real behaviour",
        )
    else:
        mapping = {"user_id": "0", "item_id": "1", "type": "3", "occurred_at": "4", **_TAOBAO}
        table = pl.read_csv(path, has_header=False, infer_schema=False)
        _, item, category, *_ = table.columns
        items = table.select(item_id=item, categories=category).unique(
            "item_id", keep="last", maintain_order=True
        )
        notes = ("items are known by their category number only",)
    return Dataset(
        name=folder.name,
        scenario="ecommerce",
        parts=(
            Part("item", written(items, work / "items.parquet"), options_of(source=source)),
            Part("event", path, options_of(mapping, source=source, zone=_SHANGHAI)),
        ),
        notes=notes,
        zone=_SHANGHAI,
    )


def is_sequence_file(path: Path) -> bool:
    """Return whether a file is lines of "user item", as SASRec reads them."""
    if not path.name.endswith((".txt", ".txt.gz")):
        return False
    parts = _first_line(path).split(" ")
    return len(parts) == 2 and all(part.isdecimal() for part in parts)


def is_sequences(folder: Path) -> bool:
    """Return whether the folder holds SASRec sequences."""
    return any(map(is_sequence_file, folder.iterdir()))


def sequences(path: Path, work: Path) -> Dataset:
    """Return one file of "user item" lines, or the first of a folder, in its own order."""
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if is_sequence_file(p))
    chosen, name = files[0], files[0].name.split(".")[0]
    options = options_of({"user_id": "0", "item_id": "1"}, source=name, default_type="purchase")
    notes = [
        "no times: the order of the file is the order of each user's events",
        "each row is a review and stands for a purchase",
    ]
    if len(files) > 1:
        others = ", ".join(file.name for file in files[1:])
        notes.append(f"of the files in this folder {chosen.name} is read; name {others} instead")
    return Dataset(name, "ecommerce", (Part("event", chosen, options),), tuple(notes))


def _table_with(folder: Path, *columns: str) -> Path | None:
    for path in sorted(folder.glob("*.parquet")):
        try:
            if set(columns) <= set(pl.read_parquet_schema(path)):
                return path
        except (pl.exceptions.PolarsError, OSError):
            continue
    return None


def _behaviour_file(folder: Path) -> Path | None:
    for path in sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")]):
        first = _first_line(path)
        cells = first.split(",")
        if "行为类型" in first or (len(cells) == 5 and cells[3] in ("pv", "buy", "cart", "fav")):
            return path
    return None


def _first_line(path: Path) -> str:
    if not path.is_file():
        return ""
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            return file.readline(4096).decode("utf-8-sig", "replace").rstrip("\r\n")
    except (OSError, EOFError):
        return ""
