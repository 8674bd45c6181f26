"""Numbers, shares, money and days as a person reads them, in English and Chinese."""

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

NONE = "–"
SYMBOLS = {
    "USD": "$", "EUR": "€", "GBP": "£", "CNY": "¥", "JPY": "¥", "INR": "₹", "KRW": "₩",
}  # fmt: skip
_UNITS = {
    "en": ((1e9, "B"), (1e6, "M"), (1e4, "k")),
    "zh": ((1e8, "亿"), (1e4, "万")),
}


def shown(value: Any, kind: str, *, lang: str = "en", currency: str = "") -> str:
    """Return a cell of a table: exact, with separators; ``kind`` as in ``contracts.Column``."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "✓" if value else ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return ", ".join(shown(v, kind, lang=lang, currency=currency) for v in value)
    if isinstance(value, str):
        return value
    if kind == "share":
        return percent(float(value))
    if kind == "money":
        return money(float(value), currency=currency)
    if isinstance(value, int):
        return _minus(f"{value:,}")
    return plain(float(value))


def short(value: float | None, unit: str, *, lang: str = "en", currency: str = "") -> str:
    """Return a headline figure: three or four digits and a unit; see ``shown`` for the exact."""
    if value is None:
        return NONE
    if unit == "share":
        return percent(value)
    if unit == "money":
        digits = _compact(abs(value), lang, decimals=2 if abs(value) < 1000 else 1)
        sign = "−" if value < 0 else ""
        return f"{sign}{SYMBOLS.get(currency, '')}{digits}{_code(currency)}"
    if unit == "integer":
        return _minus(_compact(value, lang, decimals=0))
    return plain(value)


def percent(value: float) -> str:
    """Return a share as percent: one decimal, two below one percent."""
    hundred = value * 100
    digits = 2 if 0 < abs(hundred) < 1 else 1
    return _minus(f"{hundred:.{digits}f}%")


def change(value: float | None, unit: str) -> str | None:
    """Return a change with its sign: points for shares, percent for the rest; None if unknown."""
    if value is None:
        return None
    hundred = value * 100
    if abs(hundred) < 0.05:
        return "±0"
    size = f"{abs(hundred):,.1f}" if abs(hundred) < 1000 else f"{abs(hundred):,.0f}"
    return f"{'+' if hundred > 0 else '−'}{size}{' pp' if unit == 'share' else '%'}"


def money(value: float, *, currency: str) -> str:
    """Return an amount with two decimals and its currency."""
    sign = "−" if value < 0 else ""
    return f"{sign}{SYMBOLS.get(currency, '')}{abs(value):,.2f}{_code(currency)}"


def plain(value: float) -> str:
    """Return a number with at most four significant digits, never in exponents below 10^15."""
    size = abs(value)
    if value == int(value) and size < 1e15:
        return _minus(f"{int(value):,}")
    if size >= 1e15:
        return _minus(f"{value:.3g}")
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 4
    return _minus(f"{value:,.{digits}f}")


def moment(us: int | None, zone: str) -> str:
    """Return an instant as local date and time, to the minute."""
    if us is None:
        return NONE
    at = datetime.fromtimestamp(us // 1_000_000, tz=UTC).astimezone(ZoneInfo(zone))
    return at.strftime("%Y-%m-%d %H:%M")


def _compact(value: float, lang: str, *, decimals: int) -> str:
    size = abs(value)
    for unit, name in _UNITS.get(lang, _UNITS["en"]):
        if size >= unit:
            scaled = value / (1e3 if name == "k" else unit)
            digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 1000 else 0
            return f"{scaled:,.{digits}f}{name if lang == 'en' else ' ' + name}"
    return f"{value:,.{decimals}f}"


def _code(currency: str) -> str:
    return "" if currency in SYMBOLS or not currency else f" {currency}"


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text
