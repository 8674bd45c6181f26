"""Lines that are no products: postage, fees, discounts, samples, corrections.

The title says what it is, and the code is written unlike the shop's other codes or is such a word
itself. Both must hold: a shop may sell a "post office set", and may name its products by letters.
"""

import re

import polars as pl

from lifeloop.prepare.step import Step, of

_ENGLISH = """postage post shipping delivery carriage freight courier fee fees charge charges
commission surcharge tax vat discount rebate manual adjustment adjust correction debt sample samples
tip donation insurance deposit handling packaging giftwrap rounding"""
_EUROPEAN = """versand versandkosten porto rabatt livraison remise frais envío envio descuento"""
WORDS = frozenset(f"{_ENGLISH} {_EUROPEAN}".split())
CHINESE = re.compile(r"运费|邮费|快递费|手续费|服务费|包装费|税费|折扣|优惠券|补差价|差价|赠品")
_LONGEST_TITLE = 3
_RARE, _FEW = 0.01, 3


def service_lines(
    lines: pl.DataFrame,
    *,
    always: tuple[str, ...],
    never: tuple[str, ...],
    aside: bool,
) -> Step:
    """Find order lines of services by their code and their commonest title.

    Parameters
    ----------
    lines : DataFrame
        With ``item_id``, ``title``, ``is_line``.
    always, never : item ids that the scenario decides.
    """
    codes = service_codes(lines, always=always, never=never)
    found = of(lines, pl.col("is_line") & pl.col("item_id").is_in(codes))
    return Step(
        "service_lines",
        found,
        "set aside: they are paid for, but they are no products" if aside else "flagged and kept",
        aside=aside,
        counts={
            f"lines {code}": n
            for code, n in lines.filter(found)["item_id"].value_counts(sort=True).iter_rows()
        },
        shown=("line", "item_id", "title", "value"),
    )


def service_codes(
    lines: pl.DataFrame, *, always: tuple[str, ...] = (), never: tuple[str, ...] = ()
) -> list[str]:
    """Return the item ids that are services, sorted."""
    titled = (
        lines.filter(pl.col("item_id").is_not_null() & pl.col("is_line"))
        .group_by("item_id", "title")
        .len()
        .sort("len", "title", descending=[True, False], nulls_last=True)
        .filter(pl.col("title").is_not_null())
        .unique("item_id", keep="first", maintain_order=True)
    )
    ids = lines.filter("is_line")["item_id"].drop_nulls()
    usual = _usual_shapes(ids)
    found = {
        item_id
        for item_id, title in titled.select("item_id", "title").iter_rows()
        if says_service(title) and (shape(item_id) not in usual or says_service(item_id))
    }
    return sorted((found | set(always)) - set(never))


def says_service(title: str) -> bool:
    """Return whether a short title ends in, or is, a word for a service.

    Examples
    --------
    >>> says_service("DOTCOM POSTAGE"), says_service("运费"), says_service("SET OF 4 POST MUGS")
    (True, True, False)
    """
    words = re.findall(r"[^\W\d_]+", title.lower())
    if CHINESE.search(title) and len(title) <= 8:
        return True
    return 0 < len(words) <= _LONGEST_TITLE and words[-1] in WORDS


def shape(code: str) -> str:
    """Return how a code is written: runs of digits and of letters.

    Examples
    --------
    >>> shape("85123A"), shape("POST"), shape("C2")
    ('9a', 'a', 'a9')
    """
    digits = re.sub(r"\d+", "9", code)
    return re.sub(r"[^\W\d_]+", "a", digits)


def _usual_shapes(ids: pl.Series) -> set[str]:
    """Return the shapes that at least one in a hundred distinct codes has, and three of them."""
    shapes = pl.Series([shape(code) for code in ids.unique().to_list()], dtype=pl.String)
    counted = shapes.value_counts(name="n")
    return set(
        counted.filter(pl.col("n") >= max(_FEW, _RARE * shapes.len())).to_series(0).to_list()
    )
