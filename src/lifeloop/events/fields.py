"""Which column of a file is which field of ours: names, synonyms, and the caller's mapping."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from lifeloop.errors import InputError
from lifeloop.events.problems import refusal

Kind = Literal["event", "item", "user"]

# Field -> the names under which files carry it, best first, letters and digits only.
_EVENT: dict[str, str] = {
    "event_id": "eventid eventuuid uuid messageid insertid 事件id",
    "user_id": "userid user uid customerid customer householdid visitorid memberid reviewerid "
    "clientid accountid playerid buyerid 用户id 用户编号 用户 会员id 客户id 顾客id 买家id",
    "anonymous_id": "anonymousid anonid deviceid cookieid visitorcookie 匿名id 设备id",
    "type": "type eventtype event eventname behaviortype behaviourtype behavior behaviour "
    "action actiontype feedbacktype 行为类型 行为 事件类型 事件",
    "occurred_at": "occurredat occurredus occurred timestamp eventtime eventtimestamp "
    "transactiontimestamp datetime invoicedate orderdate purchasedate transactiondate "
    "unixreviewtime reviewtime visittime createdat ts time date 时间戳 时间 发生时间 日期 "
    "行为时间 下单时间",
    "sent_at": "sentat sentus sent",
    "item_id": "itemid item productid product movieid articleid stockcode sku asin iid goodsid "
    "bookid songid videoid gameid contentid 商品id 商品编号 物品id 产品id",
    "value": "value salesvalue amount revenue linetotal totalprice lineamount dollarvalue 金额 "
    "总金额 销售额",
    "quantity": "quantity qty units count numberofcds 数量 购买数量",
    "unit_price": "unitprice price priceperunit itemprice 单价",
    "currency": "currency currencycode 币种 货币",
    "order_id": "orderid basketid invoiceno invoiceid invoice transactionid ordernumber 订单id "
    "订单号 订单编号",
    "line_id": "lineid orderlineid lineitemid linenumber lineno",
    "text": "text reviewtext review comment searchquery query 评论 评价 评论内容 搜索词",
    "rating": "rating stars overall ratingscore 评分 打分",
    "session_id": "sessionid session visitid 会话id",
    "request_id": "requestid",
    "position": "position rank slot",
    "channel": "channel",
    "referrer_id": "referrerid referrer",
    "is_bot": "isbot bot",
    "context": "context",
}
_ITEM: dict[str, str] = {
    "item_id": _EVENT["item_id"].replace("itemid item ", "itemid id item "),
    "title": "title name itemname productname producttitle movietitle 商品名称 标题 名称 商品名",
    "description": "description desc plot overview summary 描述 简介 商品描述",
    "categories": "categories category genres genre productcategory icategory categoryname 类别 "
    "商品类别 分类 品类 类目",
    "brand": "brand brandname manufacturer 品牌",
    "price": "price unitprice saleprice 售价 价格",
    "cost": "cost unitcost 成本",
    "list_price": "listprice originalprice msrp 原价",
    "url": "url link producturl",
    "image": "image imageurl imurl picture poster 图片",
    "audio": "audio audiourl",
    "stock": "stock inventory stockquantity 库存",
    "parent_id": "parentid parentasin parent",
    "kind": "kind itemtype",
    "language": "language lang 语言",
    "provider_id": "providerid sellerid vendorid merchantid shopid",
    "available_from": "availablefrom availablefromus releasedate publishedat",
    "available_until": "availableuntil availableuntilus expiresat",
    "attributes": "attributes",
}
_USER: dict[str, str] = {
    "user_id": _EVENT["user_id"].replace("userid user ", "userid id user "),
    "created_at": "createdat createdus signupdate signupat registeredat registrationdate "
    "joinedat 注册时间 注册日期",
    "channel": "channel acquisitionchannel utmsource 渠道",
    "consent": "consent",
    "attributes": "attributes",
}
FIELDS: dict[Kind, tuple[str, ...]] = {
    "event": tuple(_EVENT),
    "item": tuple(_ITEM),
    "user": tuple(_USER),
}
_NAMES: dict[Kind, dict[str, str]] = {"event": _EVENT, "item": _ITEM, "user": _USER}


@dataclass(frozen=True, slots=True)
class Columns:
    """The column of each field, the columns that are not ours, and what was assumed."""

    fields: dict[str, str]
    extras: tuple[str, ...]
    notes: tuple[str, ...] = ()


def plan_columns(columns: Sequence[str], kind: Kind, mapping: Mapping[str, str]) -> Columns:
    """Decide which column is which field; the mapping first, then names and synonyms.

    Parameters
    ----------
    columns : sequence of str
        The file's columns; of a file without header their positions "0", "1", ….
    kind : "event" | "item" | "user"
    mapping : mapping of our field -> the file's column or its position

    Raises
    ------
    InputError
        A mapping names an unknown field or column, or nothing identifies the rows.
    """
    chosen = mapped_columns(columns, kind, mapping)
    taken = set(chosen.values())
    notes: list[str] = []
    offers: dict[str, list[tuple[int, str]]] = {}
    for column in columns:
        found = field_of(column, kind)
        if kind == "user" and consent_purpose(column) and column not in taken:
            chosen[column] = column
        elif found is not None and column not in taken:
            offers.setdefault(found[0], []).append((found[1], column))
    for ours, rivals in offers.items():
        if ours in chosen:
            continue
        rivals.sort(key=lambda rival: rival[0])
        chosen[ours] = rivals[0][1]
        if len(rivals) > 1:
            others = ", ".join(repr(name) for _, name in rivals[1:])
            notes.append(
                f"{ours} is read from column {rivals[0][1]!r}, not from {others}; "
                f"--map {ours}=<column> decides otherwise"
            )
    _require_identity(chosen, columns, kind)
    taken = set(chosen.values())
    return Columns(chosen, tuple(c for c in columns if c not in taken), tuple(notes))


def mapped_columns(
    columns: Sequence[str], kind: Kind, mapping: Mapping[str, str]
) -> dict[str, str]:
    """Return our field -> the file's column for the caller's mapping alone, all checked."""
    chosen: dict[str, str] = {}
    problems: list[str] = []
    for key, column in mapping.items():
        if "." in key:  # type.view=pv and occurred_at.format=%d/%m/%Y are about values
            continue
        ours = field_named(key, kind)
        if ours is None:
            near = difflib.get_close_matches(key, FIELDS[kind], n=1)
            problems.append(
                f"unknown field {key!r}" + (f", did you mean {near[0]!r}?" if near else "")
            )
        elif column in columns:
            chosen[ours] = column
        elif column.isdecimal() and int(column) < len(columns):
            chosen[ours] = columns[int(column)]
        else:
            near = difflib.get_close_matches(column, columns, n=1)
            problems.append(
                f"no column {column!r}" + (f", did you mean {near[0]!r}?" if near else "")
            )
    if problems:
        raise InputError(
            f"the mapping cannot be used: {'; '.join(problems)}",
            got=dict(mapping),
            allowed=f"fields {', '.join(FIELDS[kind])}; columns {', '.join(map(repr, columns))}",
            hint="name our field first: --map user_id=<your column>",
        )
    return chosen


def field_named(key: str, kind: Kind) -> str | None:
    """Return our field for a key of a mapping or a record; None when it is not one of ours."""
    if key in _NAMES[kind]:
        return key
    found = field_of(key, kind)
    return found[0] if found else None


@cache
def field_of(column: str, kind: Kind) -> tuple[str, int] | None:
    """Return (our field, rank of the synonym: lower is better) of a column name."""
    plain = _plain(column)
    if not plain:
        return None
    best: tuple[str, int] | None = None
    for ours, synonyms in _NAMES[kind].items():
        if column == ours:
            return ours, -1
        names = synonyms.split()
        if plain in names and (best is None or names.index(plain) < best[1]):
            best = ours, names.index(plain)
    return best


def consent_purpose(column: str) -> str | None:
    """Return ``ads`` for ``consent_ads`` or ``consent.ads``; None for other names."""
    for mark in ("consent_", "consent."):
        if column.lower().startswith(mark) and len(column) > len(mark):
            return column[len(mark) :].lower()
    return None


def _plain(column: str) -> str:
    return re.sub(r"[\W_]+", "", column.strip("\ufeff \t")).lower()


def _require_identity(chosen: Mapping[str, str], columns: Sequence[str], kind: Kind) -> None:
    needed = {"event": ("user_id", "anonymous_id"), "item": ("item_id",), "user": ("user_id",)}
    if any(name in chosen for name in needed[kind]):
        return
    raise refusal(
        InputError(
            f"no column says {' or '.join(needed[kind])}",
            got=list(columns)[:30],
            allowed="a column named user_id, customer_id, item_id, product_id, … or a mapping",
            hint=f"--map {needed[kind][0]}=<your column, or its position counted from 0>",
        ),
        "missing_column",
    )
