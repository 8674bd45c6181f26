"""Every exception of lifeloop, in one place.

LifeloopError
├── ConfigError(ValueError)        scenario or settings refused; lists all problems at once
├── InputError(ValueError)         a file, a row or an argument that cannot be used
│   ├── UnreadableFile             corrupt, truncated, empty or of an unknown format
│   ├── NothingStored              an import of which not one row was stored
│   └── Unfit                      data that cannot carry this estimate
├── IdentityRefused(ValueError)    a link that would merge two people, or a placeholder id
├── UnknownId(KeyError)            an item or user that the store does not hold
├── StoreError(RuntimeError)       the system of record refused or failed
│   ├── StoreFull(OSError)         no space left; nothing was acknowledged
│   └── SchemaTooNew               the database was written by a newer lifeloop
├── BundleError(RuntimeError)      a model bundle is damaged or of another making
├── NoModel(LookupError)           nothing has been trained or activated yet
├── ServiceRefused(RuntimeError)   a running service said no
├── ServiceUnreachable(OSError)    a running service did not answer
└── MissingExtra(ImportError)      an optional part is not installed
"""

from collections.abc import Mapping, Sequence
from typing import Any


class LifeloopError(Exception):
    """What failed, the value got, the values allowed, and the next step.

    Parameters
    ----------
    what : str
        What failed, in one sentence.
    got : object, optional
        The offending value, shown with ``repr``.
    allowed : str, optional
        What would have been accepted.
    hint : str, optional
        What to do next.
    """

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        allowed: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.got = got
        self.allowed = allowed
        self.hint = hint
        parts = [what.rstrip(".") + "."]
        if got is not None:
            parts.append(f"Got: {got!r}.")
        if allowed is not None:
            parts.append(f"Allowed: {allowed}.")
        if hint is not None:
            parts.append(f"Next: {hint}")
        super().__init__(" ".join(parts))

    def __str__(self) -> str:
        return str(self.args[0])


class ConfigError(LifeloopError, ValueError):
    """A scenario or settings file was refused; ``problems`` lists every fault found."""

    def __init__(self, what: str, problems: Sequence[str], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        listed = "; ".join(self.problems)
        super().__init__(f"{what}: {listed}" if listed else what, hint=hint)


class InputError(LifeloopError, ValueError):
    """A file, a row or an argument that cannot be used."""


class UnreadableFile(InputError):
    """A file that is corrupt, truncated, empty or of an unknown format."""


class NothingStored(InputError):
    """An import of which not one row was stored."""


class Unfit(InputError):
    """Data that cannot carry an estimate: too few, too equal, or of another kind."""


class IdentityRefused(LifeloopError, ValueError):
    """A link that would merge two known people, or an id that is only a placeholder."""


class UnknownId(LifeloopError, KeyError):
    """An item or a user that the store does not hold."""


class StoreError(LifeloopError, RuntimeError):
    """The system of record refused or failed."""


class StoreFull(StoreError, OSError):
    """No space is left; nothing of the failed call was acknowledged."""


class SchemaTooNew(StoreError):
    """The database was written by a newer lifeloop."""


class BundleError(LifeloopError, RuntimeError):
    """A model bundle is damaged, or parts of different bundles were mixed."""


class NoModel(LifeloopError, LookupError):
    """Nothing has been trained or activated yet."""


class ServiceRefused(LifeloopError, RuntimeError):
    """A running service said no: ``status`` is HTTP's, ``problem`` its problem+json."""

    def __init__(self, problem: Mapping[str, Any], *, status: int) -> None:
        self.status = status
        self.problem = dict(problem)
        listed = "; ".join(str(fault) for fault in problem.get("problems") or ())
        what = str(problem.get("title") or f"status {status}")
        super().__init__(
            f"{what}: {listed}" if listed else what,
            got=f"status {status}",
            allowed=None if problem.get("allowed") is None else str(problem["allowed"]),
            hint=None if problem.get("next") is None else str(problem["next"]),
        )


class ServiceUnreachable(LifeloopError, OSError):
    """A running service did not answer."""


class MissingExtra(LifeloopError, ImportError):
    """An optional part is not installed; the message names the exact command."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(
            f"{part} needs an optional part of lifeloop that is not installed",
            hint=f"pip install 'lifeloop[{extra}]'",
        )
