"""Shops: Shopify's exports, RetailRocket's and Taobao's logs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lifeloop.events.fields import Kind
from lifeloop.events.presets.shape import Peek, Preset, Shape
from lifeloop.events.readers import ReadOptions
from lifeloop.events.readers.nested import Nested, Record

_ORDER_COLUMNS = (
    "Email",
    "Financial Status",
    "Currency",
    "Created at",
    "Cancelled at",
    "Source",
    "Refunded Amount",
)
_VOID = ("voided", "expired")


def _sold(record: Record) -> Record | None:
    """Leave out lines of orders that were never paid: voided or expired."""
    status = str(record.get("Financial Status") or record.get("financial_status") or "").lower()
    return None if status in _VOID else record


def _given_back(record: Record) -> Record | None:
    """Return the first row of an order of which money went back, with that money."""
    try:
        amount = float(record.get("Refunded Amount") or 0)
    except (TypeError, ValueError):
        return None
    own = record.get("Subtotal") not in (None, "")  # order facts that are not filled down
    return record if amount > 0 and own and _sold(record) is not None else None


def _refund_lines(record: Record) -> Record | None:
    refunds = record.get("refunds")
    return record if refunds else None


def _taobao_log(file: Peek) -> bool:
    words = {"pv", "buy", "cart", "fav"}
    return len(file.columns) >= 5 and str(file.first.get("3")) in words


def _taobao_named(file: Peek) -> bool:
    return {"用户ID", "商品ID", "行为类型"} <= set(file.columns)


def _customer(record: Record) -> Record:
    address: Any = record.get("default_address")
    country = address.get("country_code") if isinstance(address, Mapping) else None
    # The CSV writes an apostrophe before the number, so that a spreadsheet leaves it alone.
    number = record.get("id") or str(record.get("Customer ID") or "").lstrip("'")
    country = country or record.get("Default Address Country Code")
    return {**record, "number": number, "country": country}


def _item_properties(files: list[Peek], work: Path) -> list[tuple[Kind, Path, ReadOptions]]:
    """Turn RetailRocket's (time, item, property, value) rows into items, streamed.

    The newest ``categoryid`` and ``available`` of each item; ``parentid`` of the category tree
    becomes a second, wider category. All other properties are hashed words.
    """
    found = [f.path for f in files if f.has("itemid", "property", "value", "timestamp")]
    if not found:
        return []
    rows = pl.concat([pl.scan_csv(path, infer_schema=False) for path in found])
    newest = (
        rows.filter(pl.col("property").is_in(["categoryid", "available"]))
        .group_by("itemid", "property")
        .agg(pl.col("value").sort_by(pl.col("timestamp").cast(pl.Int64)).last())
        .collect(engine="streaming")
        .pivot("property", index="itemid", values="value")
    )
    absent = [c for c in ("categoryid", "available") if c not in newest.columns]
    newest = newest.with_columns(pl.lit(None, dtype=pl.String).alias(c) for c in absent)
    trees = [f.path for f in files if f.has("categoryid", "parentid")]
    if trees:
        tree = pl.read_csv(trees[0], infer_schema=False).unique("categoryid")
        newest = newest.join(tree, on="categoryid", how="left")
    else:
        newest = newest.with_columns(parentid=pl.lit(None, dtype=pl.String))
    items = newest.sort("itemid").select(
        item_id="itemid",
        stock=pl.col("available").cast(pl.Float64, strict=False),
        categories=pl.concat_list("parentid", "categoryid").list.drop_nulls(),
    )
    work.mkdir(parents=True, exist_ok=True)
    out = work / "retailrocket.items.parquet"
    items.write_parquet(out)
    return [("item", out, ReadOptions(source="retailrocket"))]


_LINE = "line_items[]"
_BACK = "refunds[].refund_line_items[]"
_BUYER = ("customer.id", "email", "contact_email")

SHOPIFY = Preset(
    name="shopify",
    title="Shopify",
    documentation="https://help.shopify.com/en/manual/fulfillment/managing-orders/exporting-orders",
    shapes=(
        Shape(
            kind="user",
            title="customers (CSV export or JSON of the Admin API)",
            needs=("Customer ID|id", "Email", "Total Spent|Accepts Email Marketing"),
            nested=Nested(
                {"user_id": ("number",), "created_at": ("created_at",)},
                keep=("country", "Tags", "tags", "Total Orders", "orders_count"),
                before=_customer,
            ),
        ),
        Shape(
            kind="item",
            title="products (CSV export)",
            needs=("Handle", "Title", "Variant SKU"),
            nested=Nested(
                {
                    "item_id": ("Variant SKU", "Handle"),
                    "title": ("Title",),
                    "description": ("Body (HTML)",),
                    "brand": ("Vendor",),
                    "categories": ("Type", "Product Category"),
                    "price": ("Variant Price",),
                    "list_price": ("Variant Compare At Price",),
                    "stock": ("Variant Inventory Qty",),
                    "cost": ("Cost per item",),
                    "image": ("Image Src", "Variant Image"),
                    "parent_id": ("Handle",),
                },
                keep=("Tags",),
                fill_down=("Handle", ("Title", "Body (HTML)", "Vendor", "Type", "Tags",
                                      "Product Category", "Image Src")),
            ),
            distinct=True,
        ),
        Shape(
            kind="item",
            title="products named in orders (JSON of the Admin API)",
            needs=("line_items", "created_at"),
            nested=Nested(
                {
                    "item_id": (f"{_LINE}.sku", f"{_LINE}.variant_id", f"{_LINE}.product_id"),
                    "title": (f"{_LINE}.title", f"{_LINE}.name"),
                    "brand": (f"{_LINE}.vendor",),
                    "price": (f"{_LINE}.price",),
                    "parent_id": (f"{_LINE}.product_id",),
                },
                (_LINE,),
                lines_only=True,
                keep=(),
            ),
            distinct=True,
        ),
        Shape(
            kind="event",
            title="orders (CSV export)",
            needs=("Name", "Lineitem quantity", "Lineitem price"),
            default_type="purchase",
            nested=Nested(
                {
                    "user_id": ("Email",),
                    "order_id": ("Name",),
                    "occurred_at": ("Created at",),
                    "item_id": ("Lineitem sku", "Lineitem name"),
                    "quantity": ("Lineitem quantity",),
                    "unit_price": ("Lineitem price",),
                    "currency": ("Currency",),
                    "channel": ("Source",),
                },
                keep=("Lineitem name", "Financial Status", "Lineitem discount"),
                before=_sold,
                fill_down=("Name", _ORDER_COLUMNS),
            ),
        ),
        Shape(
            kind="event",
            title="refunds in orders (CSV export)",
            needs=("Name", "Lineitem quantity", "Refunded Amount"),
            default_type="refund",
            nested=Nested(
                {
                    "user_id": ("Email",),
                    "order_id": ("Name",),
                    "occurred_at": ("Cancelled at", "Created at"),
                    "value": ("Refunded Amount",),
                    "currency": ("Currency",),
                },
                keep=("Financial Status",),
                before=_given_back,
            ),
        ),
        Shape(
            kind="event",
            title="orders (JSON of the Admin API)",
            needs=("line_items", "created_at"),
            default_type="purchase",
            nested=Nested(
                {
                    "user_id": _BUYER,
                    "order_id": ("id",),
                    "line_id": (f"{_LINE}.id",),
                    "occurred_at": ("created_at",),
                    "item_id": (f"{_LINE}.sku", f"{_LINE}.variant_id", f"{_LINE}.product_id"),
                    "quantity": (f"{_LINE}.quantity",),
                    "unit_price": (f"{_LINE}.price",),
                    "currency": ("currency",),
                    "channel": ("source_name",),
                },
                (_LINE,),
                lines_only=True,
                keep=(f"{_LINE}.title", "financial_status"),
                before=_sold,
            ),
        ),
        Shape(
            kind="event",
            title="refunds in orders (JSON of the Admin API)",
            needs=("line_items", "refunds"),
            default_type="refund",
            nested=Nested(
                {
                    "user_id": _BUYER,
                    "order_id": ("id",),
                    "line_id": (f"{_BACK}.line_item_id",),
                    "occurred_at": ("refunds[].created_at",),
                    "item_id": (f"{_BACK}.line_item.sku", f"{_BACK}.line_item.variant_id"),
                    "quantity": (f"{_BACK}.quantity",),
                    "value": (f"{_BACK}.subtotal",),
                    "currency": ("currency",),
                },
                (_BACK,),
                lines_only=True,
                keep=(f"{_BACK}.restock_type",),
                before=_refund_lines,
            ),
        ),
    ),
    notes=(
        "value is quantity × price of the line: discounts on the whole order, shipping and taxes "
        "are not products",
        "voided and expired orders are left out",
        "the orders' CSV names its customers by e-mail: --hash-ids replaces it by a keyed hash",
    ),
)  # fmt: skip

RETAILROCKET = Preset(
    name="retailrocket",
    title="RetailRocket",
    documentation="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
    shapes=(
        Shape(
            kind="event",
            title="events.csv",
            needs=("timestamp", "visitorid", "event", "itemid", "transactionid"),
            mapping={
                "user_id": "visitorid",
                "item_id": "itemid",
                "type": "event",
                "order_id": "transactionid",
            },
            types={"addtocart": "add_to_cart", "transaction": "purchase"},
        ),
    ),
    notes=("no prices: orders count, their money is unknown",),
    convert=_item_properties,
)

_TAOBAO_TYPES = {"pv": "view", "buy": "purchase", "cart": "add_to_cart", "fav": "favourite"}
_SHANGHAI = "Asia/Shanghai"

TAOBAO = Preset(
    name="taobao",
    title="Taobao UserBehavior",
    documentation="https://tianchi.aliyun.com/dataset/649",
    shapes=(
        Shape(
            kind="item",
            title="items of the log (user, item, category, behaviour, time; no header)",
            fits=_taobao_log,
            mapping={"item_id": "1", "categories": "2"},
            distinct=True,
        ),
        Shape(
            kind="event",
            title="the log (user, item, category, behaviour, time; no header)",
            fits=_taobao_log,
            mapping={"user_id": "0", "item_id": "1", "type": "3", "occurred_at": "4"},
            types=_TAOBAO_TYPES,
            zone=_SHANGHAI,
        ),
        Shape(
            kind="item",
            title="items of a log with Chinese headers",
            fits=_taobao_named,
            distinct=True,
        ),
        Shape(
            kind="event",
            title="a log with Chinese headers",
            fits=_taobao_named,
            types=_TAOBAO_TYPES,
            zone=_SHANGHAI,
        ),
    ),
    notes=("times without a zone are Shanghai's",),
)
