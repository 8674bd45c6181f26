"""One refused row, edited by a person, tried again: exactly once, whoever presses twice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from lifeloop import intake
from lifeloop.contracts import IngestReport, QuarantinedRow, Store
from lifeloop.errors import UnknownId
from lifeloop.loop import Lifeloop, now_us
from lifeloop.repair import retry_quarantine

_LOCK, _WAIT_S = "quarantine", 20.0


def mend(loop: Lifeloop, row: QuarantinedRow, raw: Mapping[str, Any]) -> IngestReport:
    """Store a refused row as edited; what passes leaves quarantine.

    Raises
    ------
    UnknownId
        Somebody else has repaired it meanwhile.
    """
    with loop.store.exclusive(_LOCK, wait_s=_WAIT_S):
        held = {r.quarantine_id for r in loop.store.quarantined()}
        if row.quarantine_id not in held:
            raise UnknownId(
                "the row is not in quarantine any more",
                got=row.quarantine_id,
                hint="somebody has repaired it",
            )
        edited = _Edited(loop.store, replace(row, raw=raw))
        return retry_quarantine(
            cast(Store, edited),
            options=intake.read_options(loop.scenario),
            clock=now_us,
            key=loop.id_key(),
        )


class _Edited:
    """The store, with this one row in quarantine."""

    def __init__(self, store: Store, row: QuarantinedRow) -> None:
        self._store = store
        self._row = row

    def quarantined(
        self, *, reason: str | None = None, limit: int | None = None
    ) -> Sequence[QuarantinedRow]:
        return [self._row]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
