"""The two walks, written out: the life of one event, the life of one request. Calls only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import time_ns
from types import TracebackType
from typing import Any, Self

from lifeloop import answer, cleaning, custody, identities, intake, learn, overview, request, tables
from lifeloop.arrival import opened_preset
from lifeloop.config import Scenario
from lifeloop.contracts import (
    UNTIMED,
    AliasKind,
    Decision,
    ErasureReport,
    Head,
    History,
    IdentityReport,
    IngestReport,
    Lake,
    Prediction,
    Progress,
    Recommendation,
    Recommendations,
    StageResult,
    Store,
    Table,
    silent,
)
from lifeloop.errors import NoModel
from lifeloop.evaluate import Report
from lifeloop.events import Event, ReadOptions
from lifeloop.events.datasets import Part
from lifeloop.events.personal import pseudonym
from lifeloop.foretold import Foretelling, Foretold, foretell
from lifeloop.home import Home, project_key
from lifeloop.lifecycle import StageDefinitions, stage_of
from lifeloop.live import Live
from lifeloop.measure import measure
from lifeloop.model import Model, open_model
from lifeloop.moment import Moment, moment
from lifeloop.prepare import Cleaned
from lifeloop.repair import retry_quarantine
from lifeloop.store import open_store
from lifeloop.tables.upkeep import Refreshed, refresh
from lifeloop.watch import TypeLimit
from lifeloop.wishes import ANYTHING, Facts, Wishes, as_wished, narrowed


def now_us() -> int:
    """Return the present moment in microseconds UTC."""
    return time_ns() // 1_000


class Lifeloop:
    """One product's users, items and events, and everything that is answered from them.

    Examples
    --------
    >>> import tempfile
    >>> with Lifeloop.open(tempfile.mkdtemp(), scenario="ecommerce") as loop:
    ...     report = loop.record({"user_id": "ada", "type": "view", "item_id": "tea"})
    ...     loop.stage("ada").product_stage
    'acquisition'
    """

    def __init__(
        self, store: Store, scenario: Scenario, home: Path, *, clock: Callable[[], int] = now_us
    ) -> None:
        self.store = store
        self.scenario = scenario
        self.home = home
        self.clock = clock
        self._definitions = StageDefinitions.of(scenario)
        self.live = Live(home / "bundles", rules=scenario.recommend)
        self.facts = Facts(store.catalogue)
        self.foretold = Foretold(home, zone=scenario.locale.zone)
        self.types = TypeLimit(store, scenario)
        self.log: Callable[[Decision], bool] = self._logged

    @classmethod
    def open(
        cls,
        where: str | Path,
        *,
        scenario: str | Path | Mapping[str, Any] | Scenario | None = None,
        clock: Callable[[], int] = now_us,
    ) -> Self:
        """Open a project folder or a database URL; what is not there yet is created.

        Parameters
        ----------
        where : str or Path
            A folder (its ``lifeloop.toml`` is the scenario), or ``sqlite:///path/to.db``,
            or ``postgresql://…`` (extra ``[postgres]``; bundles then go to the current folder).
        scenario : optional
            Name, file, mapping or ``Scenario``; overrides ``lifeloop.toml``.
        clock : callable
            Returns now in microseconds UTC; for tests and replays.
        """
        home = Home.of(where, scenario=scenario)
        return cls(open_store(home.url, keys=home.folder), home.scenario, home.folder, clock=clock)

    def close(self) -> None:
        """Release the store."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- the life of one event

    def import_users(self, path: str | Path, **options: Any) -> IngestReport:
        """Import users. Options: ``map``, ``zone``, ``source``, ``progress``, ``hash_emails``."""
        return self._import(path, "user", **options)

    def import_items(self, path: str | Path, **options: Any) -> IngestReport:
        """Import items from a file. Options: ``map``, ``zone``, ``source``, ``progress``."""
        return self._import(path, "item", **options)

    def import_events(self, path: str | Path, **options: Any) -> IngestReport:
        """Import events from a file. Options as above, and ``type`` for files without one."""
        return self._import(path, "event", **options)

    def _import(
        self,
        path: str | Path,
        kind: intake.Kind,
        *,
        progress: Progress = silent,
        options: ReadOptions | None = None,
        hash_emails: bool = False,
        **given: Any,
    ) -> IngestReport:
        return intake.import_file(
            self.store,
            Path(path),
            kind,
            options=options or intake.read_options(self.scenario, **given),
            scenario=self.scenario,
            clock=self.clock,
            progress=progress,
            key=self.id_key(hash_emails=hash_emails),
        )

    def import_preset(
        self,
        name: str,
        paths: Sequence[str | Path],
        *,
        zone: str | None = None,
        hash_emails: bool = False,
        progress: Progress = silent,
    ) -> list[tuple[Part, IngestReport]]:
        """Import the export of another system: its users, items and events, in this order.

        Parameters
        ----------
        name : gorse, posthog, segment, shopify, movielens, retailrocket or taobao
        paths : files, or folders of them
        """
        files = [Path(path) for path in paths]
        with opened_preset(name, files, scenario=self.scenario, zone=zone) as export:
            reports = []
            for part in export.parts:
                report = self._import(
                    part.path,
                    part.kind,
                    options=part.options,
                    hash_emails=hash_emails,
                    progress=progress,
                )
                reports.append((part, report + IngestReport(notes=export.notes)))
            key = self.id_key(hash_emails=hash_emails)
            return identities.linked(self.store, export, reports, clock=self.clock, key=key)

    def pseudonym(self, address: str) -> str:
        """Return the id under which an e-mail address is stored with ``hash_emails``."""
        return pseudonym(address, key=project_key(self.home))

    def id_key(self, *, hash_emails: bool = False) -> bytes | None:
        """Return the key of hashed ids where the scenario (or the caller) asks for them."""
        wanted = hash_emails or self.scenario.intake.emails == "hash"
        return project_key(self.home) if wanted else None

    def import_pair(
        self,
        users: str | Path,
        items: str | Path,
        *,
        row_aligned: bool = False,
        progress: Progress = silent,
    ) -> dict[str, IngestReport]:
        """Import the textbook's ``user_data.csv`` and ``item_data.csv``."""
        given: dict[str, Any] = {"row_aligned": row_aligned, "progress": progress}
        given |= {"scenario": self.scenario, "clock": self.clock}
        return intake.import_pair(self.store, Path(users), Path(items), **given)

    def record(self, event: Event | Mapping[str, Any]) -> IngestReport:
        """Store one event, durably; the user's next request already sees it."""
        given: dict[str, Any] = {"received_us": self.clock(), "key": self.id_key()}
        given |= {"scenario": self.scenario, "types": self.types}
        return intake.record(self.store, event, **given)

    def identify(
        self, anonymous_id: str, user_id: str, *, kind: AliasKind = "device"
    ) -> IdentityReport:
        """Link an anonymous visitor, or another alias, to a user. Raises ``IdentityRefused``."""
        who, key = (anonymous_id, user_id), self.id_key()
        return identities.identify(self.store, *who, received_us=self.clock(), kind=kind, key=key)

    def erase(self, user_id: str) -> ErasureReport:
        """Remove a person with every alias, for good: whatever comes of them is refused."""
        home = Home(self.home, self.store.url, self.scenario)
        return custody.erase(self.store, home, user_id, at_us=self.clock())

    def lake(self) -> Lake:
        """Return the lake: the whole history as Parquet, by local day."""
        return custody.lake_of(self.store, self.scenario, self.home)

    def retry_quarantine(
        self, *, mapping: Mapping[str, str] | None = None, zone: str | None = None, **asked: Any
    ) -> IngestReport:
        """Try refused rows again; ``edit`` and ``who`` as in ``repair.retry_quarantine``."""
        options = intake.read_options(self.scenario, map=mapping or {}, zone=zone)
        given: dict[str, Any] = {"options": options, "clock": self.clock, "key": self.id_key()}
        return retry_quarantine(self.store, **given, **asked)

    def clean(self, kind: intake.Kind = "event") -> Cleaned:
        """Report what is wrong in what is stored; nothing stored is changed. See docs/cleaning.md.

        The report is kept as ``reports/cleaning_events.json`` (``_items``, ``_users``) below the
        project folder.
        """
        cleaned = cleaning.clean_stored(self.store, scenario=self.scenario, kind=kind)
        cleaning.save_report(cleaned, self.home)
        return cleaned

    # ---------------------------------------------------------------- learning

    def moment(self) -> Moment:
        """Return the default moment of analysis and why it was chosen."""
        return moment(self.store.head().last_event_us, self.scenario, now_us=self.clock())

    def train(self, *, progress: Progress = silent, refresh: bool = False) -> Mapping[str, Any]:
        """Learn (or count anew, ``refresh``), publish the bundle, return its manifest."""
        given: dict[str, Any] = {"home": self.home, "clock": self.clock, "progress": progress}
        given |= {"moment": self.moment(), "refresh": refresh}
        return learn.train(self.store, self.scenario, **given)

    def encode_ahead(self, *, progress: Progress = silent) -> None:
        """Encode the items' texts for the next training; see ``lifeloop.learn.encode_ahead``."""
        given: dict[str, Any] = {"home": self.home, "moment": self.moment(), "progress": progress}
        learn.encode_ahead(self.store, self.scenario, **given)

    def activate(self, bundle: str) -> None:
        """Make a bundle the active one, if it opens."""
        model = open_model(self.home / "bundles", bundle)
        self.store.activate(bundle, at_us=self.clock())
        self.live.put(model)

    def rollback(self) -> str:
        """Go back to the bundle that was active before the present one; return it."""
        bundle = learn.previous_bundle(self.store)
        self.activate(bundle)
        return bundle

    def evaluate(self, **options: Any) -> Report:
        """Measure models on what is stored. See ``lifeloop.measure.measure`` for the options."""
        return measure(self.store, self.scenario, home=self.home, moment=self.moment(), **options)

    # ---------------------------------------------------------------- the life of one request

    def recommend(
        self,
        user_id: str,
        k: int = 10,
        context: Mapping[str, Any] | None = None,
        *,
        wishes: Wishes = ANYTHING,
        session: History | None = None,
    ) -> Recommendations:
        """Return at most k items for a user (or ``anon:<anonymous id>``), each with its reason.

        A user unknown in training is served from their history; one without any history gets a
        named fallback. ``context`` may hold ``query``, ``interests`` or ``category`` (text),
        ``items`` (just looked at) and the situation (``models.context``); what is not used is
        named in the answer. The decision is logged, durably, before it is answered.

        ``wishes`` narrows what may be shown; a caller's own candidates (``wishes.only``) were
        not drawn, so that slate has no propensities. ``session`` stands in for the stored
        history.

        Raises
        ------
        InputError
            A malformed request.
        """
        request.check(user_id, k, context)
        who = request.asking(self.store, user_id, session)
        head, history = who.head, who.history
        asking = request.Request.of(
            user_id,
            context,
            t_us=self._request_us(history, head),
            seq=head.seq,
            seed=self.scenario.models.seed,
        )
        place = self._place(history, head, as_of_us=asking.t_us)
        try:
            current = self.live.current(self.store, head)
        except NoModel as error:
            return answer.untrained(asking, stage=place.stage, why=str(error))
        model = current.model.ordered(trees=wishes.ranked, whole=wishes.narrow)
        scenario = self.scenario
        told: dict[str, Any] = {"user": who.user, "predicted": self.foretold.at}
        asked = request.ask(model, history, scenario=scenario, request=asking, **told)
        told = {"as_of_us": asking.t_us, "history_ix": asked.history_ix}
        may = request.eligible(model.catalogue, history, scenario=scenario, **told)
        may = narrowed(may, wishes, current, self.facts)
        chosen, state = answer.choose_slate(
            model, asked, may, k=k, scenario=scenario, request=asking, stage=place.stage
        )
        keep = scenario.recommend.log_candidates
        decision = answer.decision_of(
            model, asked, chosen, state, request=asking, log_candidates=keep
        )
        logged = self.log(decision := as_wished(decision, wishes))
        items = self.live.items(self.store, answer.to_name(model, asked, chosen), current)
        rows = answer.recommendations_of(
            model, asked, chosen, items=items, scenario=scenario, stage=place.stage
        )
        given: dict[str, Any] = {"asked": asked, "scenario": scenario, "logged": logged}
        return answer.answered(rows, decision, chosen, may, k=k, **given)

    def _logged(self, decision: Decision) -> bool:
        self.store.log_decision(decision)
        return True

    def similar(self, item_id: str, k: int = 10) -> tuple[Recommendation, ...]:
        """Return items like this one, by use and by content. Raises ``UnknownId``."""
        found = answer.similar(self.model(), item_id, k=k, as_of_us=self.moment().as_of_us)
        return answer.titled(found, self.store.items([row.item_id for row in found]))

    def predict(self, user_id: str, item_id: str) -> Prediction:
        """Predict the rating a user would give; None with a reason where that cannot be said."""
        history = self.store.histories([user_id])[0]
        as_of_us = self._request_us(history, self.store.head())
        return answer.predict(self.model(), history, item_id, as_of_us=as_of_us)

    def stage(self, user_id: str) -> StageResult:
        """Say where a user stands, and the rule that put them there."""
        head, history = self.store.head(), self.store.histories([user_id])[0]
        return self._place(history, head, as_of_us=self._request_us(history, head))

    def stages(self) -> dict[str, Any]:
        """Count the users in each stage, and say which stages the data cannot show and why."""
        given: dict[str, Any] = {"moment": self.moment(), "predictions": self.foretold.table()}
        return overview.stages(self.store, self.scenario, **given)

    def table(self, name: str, **asked: Any) -> Table:
        """Return a lifecycle table by name (``lifeloop.tables.TABLES``). See ``table_of``."""
        return tables.compute(self.source, name, **asked)

    def lifecycle(self, **asked: Any) -> tables.Overview:
        """Return users per stage and the key metrics with their trend. See ``overview``."""
        return tables.overview(self.source(), **asked)

    def source(self) -> tables.Source:
        """Return everything that tables are computed from, read once; the daily state if fresh."""
        given: dict[str, Any] = {"moment": self.moment(), "predictions": self.foretold.table()}
        return tables.read_source(self.store, self.scenario, **given, folder=self.home / "daily")

    def foretell(self, *, again: bool = False) -> Foretelling:
        """Keep predicted value and P(alive) of each month, for stages and ranker to follow."""
        return foretell(self.source(), self.home, again=again)

    def daily(self) -> Refreshed:
        """Bring the materialised daily state up to date and return it; see ``upkeep.refresh``."""
        return refresh(self.store, self.scenario, self.home / "daily")

    def why(self, user_id: str, *, limit: int = 20) -> dict[str, Any]:
        """Return every move of a user between stages, and the newest events behind it."""
        history = self.store.histories([user_id])[0]
        at, known = self._request_us(history, self.store.head()), self.foretold.of(user_id)
        given: dict[str, Any] = {"as_of_us": at, "predictions": known, "limit": limit}
        return tables.why_of(history, self.scenario, **given)

    def _place(self, history: History, head: Head, *, as_of_us: int) -> StageResult:
        return stage_of(
            history,
            definitions=self._definitions,
            zone=self.scenario.locale.zone,
            as_of_us=as_of_us,
            log_start_us=head.first_event_us,
            predictions=self.foretold.of(history.user_id),
        )

    def _request_us(self, history: History, head: Head) -> int:
        at = moment(head.last_event_us, self.scenario, now_us=self.clock())
        newest = int(history.t_us.max()) if len(history) else UNTIMED
        return max(at.as_of_us, newest + 1 if newest != UNTIMED else UNTIMED)

    def model(self, active: str | None = None) -> Model:
        """Return the active bundle (or the one named), opened; swaps when another is active."""
        head = self.store.head()
        return self.live.current(self.store, replace(head, bundle=active or head.bundle)).model
