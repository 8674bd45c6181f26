"""What an item says about itself, as one clean line of text."""

import html
import re
import unicodedata

import polars as pl

MAX_CHARS = 1000
"""Texts are read up to here: about 250 tokens of English; what matters comes first."""

_INVISIBLE = re.compile(r"(?is)<(script|style)\b.*?(?:</\1\s*>|$)|<!--.*?(?:-->|$)")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,2000}>|<![a-zA-Z][^<>]{0,2000}>")
_SPACE = re.compile(r"\s+")
# Weights, volumes and counts; lengths ("55 cm", "8 mm") say what a thing is.
_SIZE = re.compile(
    r"(?i)(?<![\w.])(?:\d+[-/.,x ]*)*\.?\d+\s*-?\s*"
    r"(?:fl\s?oz|oz|lbs?|ct|pk|pack|kg|g|mg|ml|cl|l|ltr|gal|qt|pt|dz|doz)"
    r"(?![\w])\.?"
)


def item_text(items: pl.DataFrame, *, max_chars: int = MAX_CHARS) -> list[str]:
    """Return one text per item: ``title. brand. categories. description``.

    Parts that are absent are left out. Categories are joined with commas in their order. Pack
    sizes ("12 OZ", "6 x 330 ml") are taken out of titles: they tell packages apart, not things,
    and they multiply the distinct texts (completejourney: 20,770 titles, 4,832 things). A part
    all in capitals is lowered, which multilingual models read better and faster. See
    ``clean_text`` for the rest.

    Parameters
    ----------
    items : pl.DataFrame
        ``ITEM_SCHEMA``; columns that are absent count as empty.
    max_chars : int
        Length of the longest text.

    Returns
    -------
    list of str
        One per row, ``""`` where the item says nothing.

    Examples
    --------
    >>> item_text(pl.DataFrame({"title": ["MILK 12 OZ"], "categories": [["DAIRY", "MILK"]]}))
    ['milk. dairy, milk']
    """
    columns = set(items.columns)
    parts = [pl.col(name) for name in ("title", "brand") if name in columns]
    if "categories" in columns:
        parts.append(pl.col("categories").list.join(", ", ignore_nulls=True))
    if "description" in columns:
        # No character past this can survive the cut, even where it is mostly markup.
        parts.append(pl.col("description").str.head(20 * max_chars))
    if not parts:
        return [""] * items.height
    fields = items.select(part.fill_null("").alias(str(i)) for i, part in enumerate(parts))
    known: dict[tuple[str, ...], str] = {}
    texts = []
    for row in fields.iter_rows():
        if row not in known:
            known[row] = _joined(row, has_title="title" in columns, max_chars=max_chars)
        texts.append(known[row])
    return texts


def clean_text(text: str, *, max_chars: int = MAX_CHARS) -> str:
    """Return one line of visible text: no markup, control characters or broken surrogates.

    Markup is removed (scripts and styles with their content), entities are decoded, Unicode is
    brought to NFC, white space is collapsed, and the text is cut to ``max_chars``. Text of any
    script, emoji included, is kept.
    """
    text = text[: 20 * max_chars]
    if "<" in text:
        text = _TAG.sub(" ", _INVISIBLE.sub(" ", text))
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if not text.isprintable():
        text = "".join(" " if _unseen(c) else c for c in text)
    return _SPACE.sub(" ", text).strip()[:max_chars].rstrip()


def _joined(row: tuple[str, ...], *, has_title: bool, max_chars: int) -> str:
    cleaned = [clean_text(part, max_chars=max_chars) for part in row]
    if has_title:
        # A title that is nothing but a size keeps it: "5 g" beats an empty text.
        cleaned[0] = _SPACE.sub(" ", _SIZE.sub(" ", cleaned[0])).strip(" ,;-/") or cleaned[0]
    # Capitals cost a multilingual model twice the tokens and say nothing.
    parts = [part.lower() if part.isupper() else part for part in cleaned if part]
    return ". ".join(parts)[:max_chars].rstrip()


def _unseen(char: str) -> bool:
    # Cf (zero-width joiners of emoji, direction marks of Arabic) is part of writing.
    return unicodedata.category(char) in {"Cc", "Cs", "Co", "Cn"}
