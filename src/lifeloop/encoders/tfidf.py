"""TF-IDF with truncated SVD: the floor that every larger text encoder must beat."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lifeloop.contracts import Bool, Float
from lifeloop.encoders.text import MAX_CHARS, clean_text
from lifeloop.errors import BundleError, InputError

_VIEWS: dict[str, dict[str, Any]] = {
    # Characters inside words read Chinese, typos and inflections; words carry the topic.
    "char": {"analyzer": "char_wb", "ngram_range": (2, 4)},
    "word": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
}
_NOTHING_LEFT = 1e-9


@dataclass(frozen=True, slots=True)
class TfidfSvd:
    """Character n-grams (2–4 inside words) and words (1–2), reduced to ``d`` dimensions.

    Each view is TF-IDF (sublinear tf, smooth idf, unit rows); both are put side by side, and
    the rows are projected on the ``d`` leading right singular vectors (latent semantic
    analysis) and brought to length 1.

    References
    ----------
    deerwester1990
    """

    d: int = 128
    max_features: int = 30_000
    max_chars: int = MAX_CHARS
    seed: int = 0

    def fit(self, texts: Sequence[str]) -> "FittedTfidfSvd":
        """Learn vocabulary, idf and projection from the distinct texts of a catalogue.

        Texts without anything to read are skipped; from none at all comes an encoder that
        masks everything.
        """
        if self.d < 1 or self.max_features < 1:
            raise InputError(
                "TfidfSvd needs positive sizes",
                got={"d": self.d, "max_features": self.max_features},
                allowed="d >= 1, max_features >= 1",
            )
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import TfidfVectorizer

        distinct = dict.fromkeys(clean_text(text, max_chars=self.max_chars) for text in texts)
        corpus = [text for text in distinct if text]
        terms: dict[str, tuple[str, ...]] = {}
        idf: dict[str, Float] = {}
        counted = []
        for view, options in _VIEWS.items():
            tool = TfidfVectorizer(
                **options,
                max_features=self.max_features,
                sublinear_tf=True,
                dtype=np.float32,
            )
            try:
                counted.append(tool.fit_transform(corpus))
            except ValueError:
                # Nothing but punctuation or emoji: this view sees no terms.
                terms[view], idf[view] = (), np.zeros(0, dtype=np.float32)
                continue
            terms[view] = tuple(str(term) for term in tool.get_feature_names_out())
            idf[view] = np.asarray(tool.idf_, dtype=np.float32)
        n_terms = sum(len(view) for view in terms.values())
        basis = np.zeros((n_terms, self.d), dtype=np.float32)
        if counted:
            basis = _basis(hstack(counted, format="csr"), self.d, seed=self.seed)
        return FittedTfidfSvd(terms=terms, idf=idf, basis=basis, max_chars=self.max_chars)


@dataclass(frozen=True, slots=True)
class FittedTfidfSvd:
    """A fitted ``TfidfSvd``: an ``Encoder`` whose state is plain arrays."""

    terms: Mapping[str, tuple[str, ...]]
    idf: Mapping[str, Float]
    basis: Float  # [terms, d]
    max_chars: int = MAX_CHARS
    _tools: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def id(self) -> str:
        """Names the fitted state itself: two fits on different texts never share a cache."""
        if "id" not in self._tools:
            digest = hashlib.blake2b(digest_size=8)
            for name, array in sorted(self.arrays().items()):
                digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
            self._tools["id"] = f"tfidf-svd/{self.d}/{digest.hexdigest()}"
        return str(self._tools["id"])

    @property
    def d(self) -> int:
        """Width of the vectors."""
        return int(self.basis.shape[1])

    def encode(self, texts: Sequence[str]) -> tuple[Float, Bool]:
        """Return unit vectors [n, d] and a mask [n], False where no term is known."""
        vectors = np.zeros((len(texts), self.d), dtype=np.float32)
        if len(texts) == 0 or len(self.basis) == 0:
            return vectors, np.zeros(len(texts), dtype=np.bool_)
        cleaned = [clean_text(text, max_chars=self.max_chars) for text in texts]
        start = 0
        for view, names in self.terms.items():
            if names:
                counted = self._tool(view).transform(cleaned)  # [n, terms of the view]
                vectors += counted @ self.basis[start : start + len(names)]  # [n, d]
            start += len(names)
        norm = np.linalg.norm(vectors, axis=1)
        mask = norm > _NOTHING_LEFT
        vectors[mask] /= norm[mask, None]
        vectors[~mask] = 0.0
        return vectors, mask

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the whole state as named arrays; terms are UTF-8 bytes with offsets."""
        state: dict[str, NDArray[Any]] = {
            "basis": self.basis,
            "max_chars": np.array(self.max_chars, dtype=np.int64),
        }
        for view in _VIEWS:
            encoded = [term.encode("utf-8") for term in self.terms[view]]
            state[f"{view}_terms"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            state[f"{view}_ends"] = np.cumsum([len(e) for e in encoded], dtype=np.int64)
            state[f"{view}_idf"] = self.idf[view]
        return state

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild from ``arrays``.

        Raises
        ------
        BundleError
            An array is missing or the sizes do not fit together.
        """
        try:
            terms = {v: _split(arrays[f"{v}_terms"], arrays[f"{v}_ends"]) for v in _VIEWS}
            idf = {v: np.asarray(arrays[f"{v}_idf"], dtype=np.float32) for v in _VIEWS}
            basis = np.asarray(arrays["basis"], dtype=np.float32)
            max_chars = int(arrays["max_chars"])
        except (KeyError, UnicodeDecodeError) as error:
            raise BundleError(
                f"the saved TF-IDF encoder is damaged ({error!r})", hint="train again"
            ) from error
        if any(len(terms[v]) != len(idf[v]) for v in _VIEWS) or len(basis) != sum(
            len(names) for names in terms.values()
        ):
            raise BundleError("the saved TF-IDF encoder is damaged: sizes differ")
        return cls(terms=terms, idf=idf, basis=basis, max_chars=max_chars)

    def _tool(self, view: str) -> Any:
        if view not in self._tools:
            from sklearn.feature_extraction.text import TfidfVectorizer

            tool = TfidfVectorizer(
                **_VIEWS[view],
                vocabulary={term: ix for ix, term in enumerate(self.terms[view])},
                sublinear_tf=True,
                dtype=np.float32,
            )
            tool.idf_ = self.idf[view]
            self._tools[view] = tool
        return self._tools[view]


def _basis(counted: Any, d: int, *, seed: int) -> Float:
    """Return the leading right singular vectors [terms, d], zero columns beyond the rank."""
    from sklearn.decomposition import TruncatedSVD

    n_texts, n_terms = counted.shape
    rank = min(d, n_texts, n_terms)
    basis = np.zeros((n_terms, d), dtype=np.float32)
    if rank < min(n_texts, n_terms):
        tool = TruncatedSVD(n_components=rank, n_iter=5, random_state=seed).fit(counted)
        basis[:, :rank] = tool.components_.T
        return basis
    # Few texts or few terms: the exact decomposition is small, and unlike the randomised one
    # it knows which directions are not there.
    gram = (counted @ counted.T).toarray().astype(np.float64)  # [texts, texts]
    power, left = np.linalg.eigh(gram)
    best = np.argsort(power)[::-1][:rank]
    best = best[power[best] > 1e-9 * max(power.max(), 1e-30)]
    if len(best):
        basis[:, : len(best)] = counted.T @ (left[:, best] / np.sqrt(power[best]))
    return basis


def _split(raw: NDArray[Any], ends: NDArray[Any]) -> tuple[str, ...]:
    data = np.asarray(raw, dtype=np.uint8).tobytes()
    bounds = [0, *ends.tolist()]
    return tuple(data[a:b].decode() for a, b in itertools.pairwise(bounds))
