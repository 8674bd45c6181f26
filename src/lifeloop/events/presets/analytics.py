"""Product analytics: PostHog's batch exports and Segment's raw logs.

Both follow the e-commerce event specification that Segment published: event names such as
"Order Completed", products in ``properties.products``.
"""

import re
from collections.abc import Mapping
from typing import Any

from lifeloop.events.presets.shape import Peek, Preset, Shape
from lifeloop.events.readers.nested import Nested, Record

TYPES = {
    "Product Viewed": "view",
    "Viewed Product": "view",
    "Product Clicked": "click",
    "Product List Viewed": "impression",
    "Product Added": "add_to_cart",
    "Added Product": "add_to_cart",
    "Product Added to Wishlist": "favourite",
    "Order Completed": "purchase",
    "Completed Order": "purchase",
    "Order Refunded": "refund",
    "Order Cancelled": "refund",
    "Products Searched": "search",
    "Product Reviewed": "review",
    "Coupon Applied": "coupon_redeemed",
    "Signed Up": "sign_up",
    "Account Created": "sign_up",
    "user signed up": "sign_up",
    "$pageview": "visit",
    "$screen": "visit",
    "page": "visit",
    "screen": "visit",
}
_LINES = "properties.products[]"
_PRODUCT = {
    "item_id": (f"{_LINES}.product_id", f"{_LINES}.sku", f"{_LINES}.id", "properties.product_id",
                "properties.sku"),
    "unit_price": (f"{_LINES}.price", "properties.price"),
    "quantity": (f"{_LINES}.quantity", "properties.quantity"),
    "position": (f"{_LINES}.position", "properties.position"),
    "value": (f"{_LINES}.value", "properties.revenue", "properties.total", "properties.value"),
    "order_id": ("properties.order_id", "properties.orderId"),
    "currency": ("properties.currency",),
    "text": ("properties.query", "properties.review_body"),
    "rating": ("properties.rating",),
}  # fmt: skip
_ITEM = {
    "item_id": _PRODUCT["item_id"],
    "title": (f"{_LINES}.name", "properties.name"),
    "categories": (f"{_LINES}.category", "properties.category"),
    "brand": (f"{_LINES}.brand", "properties.brand"),
    "price": (f"{_LINES}.price", "properties.price"),
    "image": (f"{_LINES}.image_url", "properties.image_url"),
    "url": (f"{_LINES}.url", "properties.url"),
}
_UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", re.I)


def _product_event(record: Record) -> Record | None:
    """Return events about products only: other events have a name and a price of their own."""
    name = str(record.get("event") or "")
    about = TYPES.get(name) not in (None, "visit", "sign_up", "search", "coupon_redeemed")
    return record if about else None


def _who_posthog(record: Record) -> Record:
    """Tell a person from a device: PostHog calls both ``distinct_id``.

    Before somebody is identified the id is the device's, a UUID; ``$user_id`` and
    ``$is_identified`` say that they are.
    """
    properties = _object(record.get("properties"))
    distinct = str(record.get("distinct_id") or "")
    device = str(properties.get("$device_id") or "")
    person = properties.get("$user_id")
    known = properties.get("$is_identified") is True or not _UUID.match(distinct)
    if person is None and known and distinct != device:
        person = distinct
    visitor = device or (distinct if person is None else None)
    return {**record, "properties": properties, "person": person, "visitor": visitor}


def _traits(record: Record) -> Record | None:
    return record if record.get("type") == "identify" and record.get("userId") else None


def _linked_segment(record: Record) -> Record | None:
    """Return the calls that say who a visitor is: identify, and alias with its former id."""
    user = record.get("userId")
    call = record.get("type")
    former = record.get("previousId") if call == "alias" else None
    visitor = former or (record.get("anonymousId") if call in ("identify", "alias") else None)
    return {"user": user, "visitor": visitor} if user and visitor and user != visitor else None


def _linked_posthog(record: Record) -> Record | None:
    """Return the events that say who a visitor is: $identify, $create_alias, a merge."""
    properties = _object(record.get("properties"))
    name, user = record.get("event"), record.get("distinct_id")
    visitor = properties.get("$anon_distinct_id") if name == "$identify" else None
    if name in ("$create_alias", "$merge_dangerously"):
        visitor = properties.get("alias")
    return {"user": user, "visitor": visitor} if user and visitor and user != visitor else None


_LINK = {"user_id": ("user",), "anonymous_id": ("visitor",)}


def _object(value: Any) -> Mapping[str, Any]:
    import json

    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}


def _is_segment(file: Peek) -> bool:
    return file.first.get("type") in ("track", "page", "screen", "identify", "group", "alias")


POSTHOG = Preset(
    name="posthog",
    title="PostHog",
    documentation="https://posthog.com/docs/cdp/batch-exports",
    shapes=(
        Shape(
            kind="user",
            title="persons of a batch export",
            needs=("distinct_id", "properties", "person_version|person_distinct_id_version"),
            nested=Nested(
                {
                    "user_id": ("distinct_id",),
                    "created_at": ("created_at",),
                    "channel": ("properties.$initial_utm_source",),
                },
                keep=("properties",),
            ),
        ),
        Shape(
            kind="item",
            title="products named in events",
            needs=("event", "distinct_id", "properties"),
            nested=Nested(_ITEM, (_LINES,), keep=(), before=_product_event),
            distinct=True,
        ),
        Shape(
            kind="event",
            title="events of a batch export",
            needs=("event", "distinct_id", "properties"),
            types=TYPES,
            nested=Nested(
                {
                    **_PRODUCT,
                    "event_id": ("uuid",),
                    "type": ("event",),
                    "user_id": ("person",),
                    "anonymous_id": ("visitor",),
                    "occurred_at": ("timestamp",),
                    "session_id": ("properties.$session_id",),
                    "channel": ("properties.utm_source",),
                },
                (_LINES,),
                keep=("properties.$current_url", "properties.$device_type", "properties.$browser",
                      "properties.$raw_user_agent"),
                before=_who_posthog,
            ),
        ),
        Shape(
            kind="event",
            title="calls of identify",
            needs=("event", "distinct_id", "properties"),
            nested=Nested(_LINK, keep=(), before=_linked_posthog),
            links=True,
        ),
    ),
    notes=(
        "$identify, $create_alias and $merge_dangerously link visitors to users; what would merge "
        "two known users is refused (lifeloop audit)",
        "a distinct_id that is a device's (a UUID, not identified) is read as anonymous_id",
        "of the properties those that lifeloop uses are read; --map reads others",
    ),
)  # fmt: skip

SEGMENT = Preset(
    name="segment",
    title="Segment",
    documentation="https://segment.com/docs/connections/spec/ecommerce/v2/",
    shapes=(
        Shape(
            kind="user",
            title="identify calls",
            needs=("type", "userId|anonymousId"),
            fits=_is_segment,
            nested=Nested(
                {
                    "user_id": ("userId",),
                    "created_at": ("traits.createdAt", "traits.created_at"),
                    "channel": ("context.campaign.source",),
                },
                keep=("traits",),
                before=_traits,
            ),
        ),
        Shape(
            kind="item",
            title="products named in track calls",
            needs=("type", "userId|anonymousId"),
            fits=_is_segment,
            nested=Nested(_ITEM, (_LINES,), keep=(), before=_product_event),
            distinct=True,
        ),
        Shape(
            kind="event",
            title="track, page and screen calls",
            needs=("type", "userId|anonymousId"),
            fits=_is_segment,
            types=TYPES,
            nested=Nested(
                {
                    **_PRODUCT,
                    "event_id": ("messageId",),
                    "type": ("event", "type"),
                    "user_id": ("userId",),
                    "anonymous_id": ("anonymousId",),
                    "occurred_at": ("timestamp", "originalTimestamp"),
                    "channel": ("context.campaign.source",),
                },
                (_LINES,),
                keep=("context.userAgent", "context.page.url", "context.device.type",
                      "context.locale"),
            ),
        ),
        Shape(
            kind="event",
            title="identify and alias calls",
            needs=("type", "userId|anonymousId"),
            fits=_is_segment,
            nested=Nested(_LINK, keep=(), before=_linked_segment),
            links=True,
        ),
    ),
    notes=(
        "identify and alias calls link visitors to users; what would merge two known users is "
        "refused (lifeloop audit)",
        "an order's discount and shipping stand on the order, not on its lines: not read",
    ),
)  # fmt: skip
