"""The one report of a cleaning: found, done, counts, examples, money before and after."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lifeloop.prepare.step import MICRO


@dataclass(frozen=True, slots=True)
class Finding:
    """One property of rows: how many have it, their money, and what was done.

    ``set_aside`` counts the rows that this step took out of the cleaned frame: those that no
    earlier step had. ``money`` is that of all rows found, millionths.
    """

    name: str
    found: int
    done: str
    set_aside: int
    money: int
    counts: Mapping[str, float]
    examples: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """Rows and money that leave at one step, and what is left after it (money in millionths)."""

    name: str
    rows: int
    money: int
    rows_left: int
    money_left: int


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """What was done to one column: absent values and outliers, scale."""

    column: str
    missing: int
    method: str
    filled: int = 0
    fill: str = ""
    outliers: int = 0
    low: float | None = None
    high: float | None = None
    scale: str = "none"


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """Everything a cleaning found and did. ``rows``/``money`` before; the ledger leads to after."""

    kind: str
    source: str
    rows: int
    money: int
    currency: str
    findings: tuple[Finding, ...]
    ledger: tuple[LedgerLine, ...]
    columns: tuple[ColumnReport, ...]
    notes: tuple[str, ...] = ()

    @property
    def rows_after(self) -> int:
        """Rows of the cleaned frame."""
        return self.ledger[-1].rows_left if self.ledger else self.rows

    @property
    def money_after(self) -> int:
        """Money of the cleaned frame, millionths."""
        return self.ledger[-1].money_left if self.ledger else self.money

    def finding(self, name: str) -> Finding:
        """Return one finding by its name. Raises ``KeyError``."""
        for found in self.findings:
            if found.name == name:
                return found
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON data, money in units of the currency."""
        return {
            "kind": self.kind,
            "source": self.source,
            "currency": self.currency,
            "before": {"rows": self.rows, "money": self.money / MICRO},
            "after": {"rows": self.rows_after, "money": self.money_after / MICRO},
            "findings": [
                {
                    **asdict(found),
                    "money": found.money / MICRO,
                    "counts": dict(found.counts),
                    "examples": [dict(example) for example in found.examples],
                }
                for found in self.findings
            ],
            "ledger": [
                {
                    **asdict(line),
                    "money": line.money / MICRO,
                    "money_left": line.money_left / MICRO,
                }
                for line in self.ledger
            ],
            "columns": [asdict(column) for column in self.columns],
            "notes": list(self.notes),
        }
