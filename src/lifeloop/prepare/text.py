"""Broken text: UTF-8 read as Latin-1 or GBK, HTML entities, control characters."""

from functools import cache

import polars as pl

from lifeloop.prepare.step import Step

_FEWEST, _LEAST = 3, "\u2000"
_SUSPECT = r"[^\x20-\x7e]|&\w+;|&#\d+;"


def repair_texts(lines: pl.DataFrame, columns: tuple[str, ...]) -> Step:
    """Repair mojibake in text columns; ids are opaque and never touched.

    Returns
    -------
    Step
        Found: rows of which a text changed. ``columns``: the repaired texts.
    """
    found = pl.Series("found", [False], dtype=pl.Boolean).new_from_index(0, lines.height)
    repaired: dict[str, pl.Series] = {}
    before: list[pl.Series] = []
    for name in columns:
        if name not in lines.columns or lines[name].dtype != pl.String:
            continue
        values = lines[name]
        suspects = values.filter(values.str.contains(_SUSPECT).fill_null(value=False)).unique()
        fixes = {old: new for old in suspects.to_list() if (new := repaired_text(old)) != old}
        if not fixes:
            continue
        changed = values.is_in(list(fixes)).fill_null(value=False)
        repaired[name] = values.replace(fixes)
        before.append(values.alias(f"{name}_before"))
        found = found | changed
    return Step(
        "broken_text",
        found,
        "repaired (UTF-8 read in another encoding, HTML entities, control characters)",
        columns={**repaired, **{b.name: b for b in before}},
        shown=("line", *(b.name for b in before), *repaired),
    )


@cache
def repaired_text(text: str) -> str:
    """Return a text with its mojibake repaired; full-width signs and curly quotes stay.

    Examples
    --------
    >>> repaired_text("cafÃ© &amp; bar"), repaired_text("鐢ㄦ埛鍚�".rstrip("�"))[:2]
    ('café & bar', '用户')
    """
    import ftfy

    chinese = _from_gbk(text)
    if chinese is not None:
        return chinese
    return ftfy.fix_text(
        text,
        uncurl_quotes=False,
        fix_character_width=False,
        fix_latin_ligatures=False,
        normalization="NFC",
        unescape_html=True,
    )


def _from_gbk(text: str) -> str | None:
    """Return UTF-8 that was read as GBK; None where the text is not that.

    Few texts are UTF-8 by chance when written in GBK, most of those in letters of two bytes
    (Greek, Cyrillic), which are not looked for. One that is must also turn from rare characters
    into everyday ones.
    """
    wide = [c for c in text if not c.isascii()]
    if len(wide) < _FEWEST:
        return None
    try:
        data = text.encode("gb18030")
    except UnicodeEncodeError:
        return None
    try:
        found = data.decode("utf-8")
    except UnicodeDecodeError as error:
        # A text that was cut in the middle of a character keeps its sound beginning.
        if error.start < len(data) - 3:
            return None
        found = data[: error.start].decode("utf-8", "ignore")
    letters = [c for c in found if not c.isascii()]
    if not letters or len(letters) >= len(wide) or min(letters) < _LEAST:
        return None
    return found if _everyday(letters) > max(0.5, _everyday(wide)) else None


def _everyday(characters: list[str]) -> float:
    """Return the share of everyday Chinese: the first level of GB 2312, and its punctuation."""
    encoded = [c.encode("gb2312", "replace") for c in characters]
    known = sum(len(e) == 2 and (0xB0 <= e[0] <= 0xD7 or e[0] in (0xA1, 0xA3)) for e in encoded)
    return known / len(characters)
