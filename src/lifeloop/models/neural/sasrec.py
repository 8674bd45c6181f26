"""A transformer over the history (SASRec), with the HSTU's place and gap biases as an option.

Trained with torch to predict each next event (see ``network`` and ``losses``); a request runs one
ONNX graph over its newest ``length`` events and multiplies the state with the item vectors:

    score_i = h(history) · (v(i) − v̄),   v(i) = E_i + T text_i,   v̄ the mean over the items scored.

(v̄ is the same for all items and changes no order; with it, 0 is what an average item gets, as in
the other parts of a blend, where an item of which nothing is said counts 0.)

Items that training never saw but that have a text are scored by T text_i alone; items with neither
are not scored. (kang2018; klenitskiy2023 and petrov2023 for the losses; zhai2024 for the biases.)
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Candidates, Double, Float, Int, Long, Queries, TrainData
from lifeloop.errors import InputError, MissingExtra
from lifeloop.models import arrays as ar
from lifeloop.models.data import part_of
from lifeloop.models.neural.checkpoints import Checkpoints, fingerprint
from lifeloop.models.neural.gaps import classes
from lifeloop.models.neural.occlusion import occluded
from lifeloop.models.neural.sequences import Sequences
from lifeloop.models.neural.texts import texts
from lifeloop.models.retrieve.topk import retrieve
from lifeloop.onnx_session import onnx_session

Bias = Literal["none", "position", "time", "both"]
FULL_SOFTMAX = 20_000
"""Items up to which every one is a negative of every place."""
JUDGES = 1_000
"""People whose last event is kept aside to judge the rounds."""
STATE = 2
"""Version of what a checkpoint holds; one of another version is not gone on with."""
MASKED = np.float32(-1e9)


@dataclass(frozen=True, slots=True)
class Sasrec:
    """Self-attention over the newest ``length`` events.

    Parameters
    ----------
    width, heads, layers, length : int
        d, H, blocks, and events looked back on.
    bias : {"none", "position", "time", "both"}
        What is added to the attention: nothing, by places apart, by time apart, or both.
    at_request : bool
        Whether gaps count to the moment of the request (in training: of the next event) rather
        than between events only.
    loss : {"auto", "full", "sampled"}
        Full softmax, or gBCE with ``negatives`` (``auto``: above 20,000 items).
    negatives, calibration : int, float
        k and t of gBCE.
    dropout, id_dropout : float
        Share of activations, and of the items' own vectors where they have a text, left out.
    rate, rounds, patience : float, int, int
        Step size at the start (it falls to 0 as a cosine), rounds at most, and rounds without a
        gain on validation after which training stops.
    seconds : float or None
        Training time at most; the result then depends on the machine.
    memory_mb : int
        Memory for activations and scores; makes the batch smaller.
    threads : int or None
        That work on a step, at most two are of use; None: as many as there are cores. The result
        is the same whatever their number.
    device : str
        ``auto``: a GPU where torch finds one.
    checkpoints : Checkpoints or None
        Where the state is kept after each round.
    clock : callable
        Seconds, for ``seconds`` only.

    Raises
    ------
    MissingExtra
        At ``fit`` or at loading, where torch, onnx or onnxruntime is not installed.
    """

    width: int = 64
    heads: int = 2
    layers: int = 2
    length: int = 200
    bias: Bias = "both"
    at_request: bool = False
    loss: Literal["auto", "full", "sampled"] = "auto"
    negatives: int = 512
    calibration: float = 0.75
    dropout: float = 0.2
    id_dropout: float = 0.1
    rate: float = 1e-3
    rounds: int = 30
    patience: int = 5
    batch: int = 32
    seconds: float | None = None
    memory_mb: int = 1_000
    threads: int | None = None
    device: str = "auto"
    name: str = "sasrec"
    checkpoints: Checkpoints | None = field(default=None, repr=False, compare=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False, compare=False)

    def fit(self, data: TrainData, *, rng: np.random.Generator) -> "FittedSasrec":
        """Train; see ``training`` for the rounds."""
        self._checked()
        try:
            import onnx  # noqa: F401
            import torch

            from lifeloop.models.neural.graph import graph
            from lifeloop.models.neural.network import Network
            from lifeloop.models.neural.threads import factors, limited, workers
            from lifeloop.models.neural.training import Plan, train
        except ImportError as missing:
            raise MissingExtra("training a transformer", "train") from missing
        seed = int(rng.integers(2**31))
        learned = np.flatnonzero(np.bincount(data.item_ix, minlength=data.n_items))  # [n]
        place = np.full(data.n_items, -1, dtype=np.int32)
        place[learned] = np.arange(len(learned), dtype=np.int32)
        text = texts(data)
        if not len(learned):
            return FittedSasrec.nothing(self, data.n_items)
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        network = Network(
            n=len(learned),
            text=None if text is None else torch.from_numpy(text[learned]),
            width=self.width,
            heads=self.heads,
            layers=self.layers,
            length=self.length,
            position=self.bias in ("position", "both"),
            time=self.bias in ("time", "both"),
            dropout=self.dropout,
        ).to(device)
        network.factors = factors(device)
        every = Sequences.of(data, place, length=self.length, at_request=self.at_request)
        aside = np.random.default_rng(seed)
        sequences, questions = every.without_last(JUDGES, aside)
        sampled = self.loss == "sampled" or (self.loss == "auto" and len(learned) > FULL_SOFTMAX)
        plan = Plan(
            rounds=self.rounds,
            patience=self.patience,
            batch=self._batch(self.negatives if sampled else len(learned)),
            rate=self.rate,
            seconds=self.seconds,
            negatives=self.negatives if sampled else None,
            calibration=self.calibration,
            id_dropout=self.id_dropout,
            fingerprint=fingerprint(data, (seed, repr(self), STATE)),
        )
        with workers(self.threads) as pool, limited(1):
            trained = train(
                network,
                sequences,
                questions,
                plan=plan,
                seed=seed,
                clock=self.clock,
                pool=pool,
                checkpoints=self.checkpoints,
            )
        vectors = np.zeros((data.n_items, self.width), dtype=np.float32)
        scored = place >= 0
        if text is not None:
            has = np.any(text != 0, axis=1)
            vectors[has] = text[has] @ trained.weights["text_map.weight"].T
            scored |= has
        vectors[learned] = trained.vectors
        return FittedSasrec(
            name=self.name,
            vectors=vectors,
            scored=scored,
            places=trained.weights["places"],
            by_place=_tables(trained.weights, "by_place", self.layers, self.heads),
            by_gap=_tables(trained.weights, "by_gap", self.layers, self.heads),
            network=np.frombuffer(
                graph(trained.weights, layers=self.layers, heads=self.heads, width=self.width),
                dtype=np.uint8,
            ),
            at_request=self.at_request,
            values=np.array(trained.values, dtype=np.float64),
        )

    def _batch(self, n_scores: int) -> int:
        """Return rows per step that stay within ``memory_mb``."""
        places = self.length * (n_scores * 4 * 3 + self.width * 4 * 24 * max(1, self.layers))
        attention = self.length**2 * self.heads * 4 * 6 * max(1, self.layers)
        return max(1, min(self.batch, self.memory_mb * 2**20 // (places + attention)))

    def _checked(self) -> None:
        wrong = []
        if self.width % self.heads:
            wrong.append(f"width {self.width} is no multiple of heads {self.heads}")
        if min(self.width, self.heads, self.layers, self.length, self.rounds, self.batch) < 1:
            wrong.append("width, heads, layers, length, rounds and batch must be 1 or more")
        if not (0 <= self.dropout < 1 and 0 <= self.id_dropout < 1):
            wrong.append("dropout and id_dropout must be in [0, 1)")
        if self.bias not in ("none", "position", "time", "both"):
            wrong.append(f"bias {self.bias!r} is not none, position, time or both")
        if wrong:
            raise InputError("these settings make no transformer: " + "; ".join(wrong))


@dataclass(frozen=True, slots=True, eq=False)
class FittedSasrec:
    """The graph, the item vectors and the bias tables; no row about any person."""

    name: str
    vectors: Float  # [I, d]
    scored: Bool  # [I]
    places: Float  # [L, d]
    by_place: Float  # [layers, H, L] or [layers, H, 0]
    by_gap: Float  # [layers, H, classes] or [layers, H, 0]
    network: NDArray[np.uint8]  # the ONNX graph, empty: trained on nothing
    at_request: bool
    values: Double  # NDCG@10 on what was kept aside, round by round
    _session: Any = field(init=False, repr=False)
    _middle: Double = field(init=False, repr=False)  # [d] v̄

    def __post_init__(self) -> None:
        """Open the graph once; a session answers several threads at a time."""
        told = self.vectors[self.scored].astype(np.float64)
        middle = told.mean(axis=0) if len(told) else np.zeros(self.vectors.shape[1])
        object.__setattr__(self, "_middle", middle)
        opened = None
        if len(self.network):
            opened = onnx_session(self.network.tobytes(), needed_for="serving a transformer")
        object.__setattr__(self, "_session", opened)

    @classmethod
    def nothing(cls, made: Sasrec, n_items: int) -> Self:
        """Return what no events teach: nothing is scored."""
        empty = np.zeros((made.layers, made.heads, 0), dtype=np.float32)
        return cls(
            name=made.name,
            vectors=np.zeros((n_items, made.width), dtype=np.float32),
            scored=np.zeros(n_items, dtype=np.bool_),
            places=np.zeros((made.length, made.width), dtype=np.float32),
            by_place=empty,
            by_gap=empty,
            network=np.empty(0, dtype=np.uint8),
            at_request=made.at_request,
            values=np.empty(0),
        )

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.scored)

    @property
    def notes(self) -> tuple[str, ...]:
        """Say how training went."""
        if not np.isfinite(self.values).any():
            return (f"{self.name}: {len(self.values)} rounds, nobody to judge them by",)
        best = int(np.nanargmax(self.values))
        told = f"round {best + 1} of {len(self.values)}, NDCG@10 {self.values[best]:.4f}"
        return (f"{self.name}: {told} on last events kept aside",)

    def score(self, queries: Queries) -> Float:
        """Return [B, I]; -inf for items without any vector and for people without history."""
        scores = np.full((len(queries), self.n_items), -np.inf, dtype=np.float32)
        for b in range(len(queries)):
            events = self._events(queries, b)
            if len(events):
                state = self._state(queries, b, events)
                # einsum and not BLAS: one answer whatever the threads
                row = np.einsum("id,d->i", self.vectors, state)
                row -= np.float32(np.einsum("d,d->", self._middle, state))
                scores[b] = np.where(self.scored, row, np.float32(-np.inf))
        return scores

    def retrieve(self, queries: Queries, k: int, *, allowed: Bool | None = None) -> Candidates:
        """Return the best allowed items."""
        return retrieve(self, queries, k=k, allowed=allowed, n_items=self.n_items, personal=True)

    def contributions(self, queries: Queries, b: int, item_ix: int) -> Double:
        """Return how much the score falls without each event; the rest is the bias."""
        return np.asarray(self.traces(queries, b, np.array([item_ix], dtype=np.int32))[0])

    def traces(self, queries: Queries, b: int, item_ix: Int) -> Double:
        """Return the contributions [m, n+1] to m items; see ``occlusion``."""
        one = part_of(queries, b, b + 1)
        events = self._events(one, 0)
        width = len(one.item_ix) + 1
        if not len(events):
            return np.zeros((len(item_ix), width))
        vectors = self.vectors[item_ix] - self._middle  # [m, d]

        def say(kept: Long) -> Double:
            state = self._state(one, 0, events[kept])
            return np.asarray(vectors @ state.astype(np.float64))

        return occluded(say, events, width=width)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state."""
        return {
            "name": ar.text(self.name),
            "vectors": self.vectors,
            "scored": self.scored,
            "places": self.places,
            "by_place": self.by_place,
            "by_gap": self.by_gap,
            "network": self.network,
            "at_request": np.array([self.at_request]),
            "values": self.values,
        }

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``."""
        return cls(
            name=ar.read_text(arrays, "name"),
            vectors=ar.needed(arrays, "vectors"),
            scored=ar.needed(arrays, "scored"),
            places=ar.needed(arrays, "places"),
            by_place=ar.needed(arrays, "by_place"),
            by_gap=ar.needed(arrays, "by_gap"),
            network=ar.needed(arrays, "network"),
            at_request=bool(ar.needed(arrays, "at_request")[0]),
            values=ar.needed(arrays, "values"),
        )

    def _events(self, queries: Queries, b: int) -> Long:
        """Return places, in query b, of the newest events that say something."""
        lo, hi = int(queries.indptr[b]), int(queries.indptr[b + 1])
        item = queries.item_ix[lo:hi]
        if item.size and int(item.max()) >= self.n_items:
            raise InputError(
                "a history holds an item the model does not know",
                got=int(item.max()),
                allowed=f"indices below {self.n_items}",
                hint="leave items that are newer than the bundle out of the history",
            )
        said = np.flatnonzero(self.scored[item] & (queries.weight[lo:hi] > 0))
        return said[-len(self.places) :] if self._session is not None else said[:0]

    def _state(self, queries: Queries, b: int, events: Long) -> Float:
        """Return h [d] after the events of query b."""
        at = int(queries.indptr[b]) + events
        n = len(at)
        x = self.vectors[queries.item_ix[at]] * np.float32(self.vectors.shape[1] ** 0.5)
        place = np.arange(n)
        back = np.maximum(place[:, None] - place[None, :], 0)  # [L, L]
        bias = np.broadcast_to(
            np.triu(np.full((n, n), MASKED), 1), (*self.by_place.shape[:2], n, n)
        ).copy()  # [layers, H, L, L]
        if self.by_place.shape[2]:
            bias += self.by_place.take(back, axis=2)
        if self.by_gap.shape[2]:
            event_s = -queries.age_days[at].astype(np.float64) * 86_400
            asked_s = np.zeros(n) if self.at_request else event_s
            if self.at_request:
                asked_s[:-1] = event_s[1:]
            bias += self.by_gap.take(classes(asked_s, event_s), axis=2)
        (state,) = self._session.run(["state"], {"x": x + self.places[-n:], "bias": bias})
        return np.asarray(state[0], dtype=np.float32)


def _tables(weights: dict[str, NDArray[np.float32]], name: str, layers: int, heads: int) -> Float:
    """Return the bias tables of all layers as one array, [layers, H, 0] without them."""
    if f"blocks.0.{name}" not in weights:
        return np.zeros((layers, heads, 0), dtype=np.float32)
    return np.stack([weights[f"blocks.{layer}.{name}"] for layer in range(layers)])
