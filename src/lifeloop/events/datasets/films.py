"""MovieLens as GroupLens writes it: the folders of 100K and 1M."""

from pathlib import Path

import polars as pl

from lifeloop.events.datasets.dataset import Dataset, Part, named_columns, options_of, written

_GENRES = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
_AGES = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56+",
}
_OCCUPATIONS = [
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
]
_ASKED = "ratings only: no plays, no sign-ups; MovieLens asks for ratings of films seen earlier"


def is_ml_100k(folder: Path) -> bool:
    """Return whether the folder holds MovieLens 100K as published."""
    return all((folder / name).is_file() for name in ("u.data", "u.item", "u.user"))


def ml_100k(folder: Path, work: Path) -> Dataset:
    """Return MovieLens 100K: 100,000 ratings, 943 users, 1,682 films."""
    names = ("item_id", "title", "released", "video", "url", *_GENRES)
    films = named_columns(_lines(folder / "u.item"), names, "|")
    genres = pl.concat_list(
        pl.when(pl.col(g) == "1").then(pl.lit(g)) for g in _GENRES if g != "unknown"
    ).list.drop_nulls()
    films = films.select("item_id", "title", "released", "url", kind=pl.lit("film"), genres=genres)
    people = named_columns(
        _lines(folder / "u.user"), ("user_id", "age", "gender", "occupation", "zip"), "|"
    )
    source = "ml-100k"
    ratings = options_of(
        {"user_id": "0", "item_id": "1", "rating": "2", "occurred_at": "3"},
        source=source,
        default_type="rating",
    )
    return Dataset(
        name=source,
        scenario="media",
        parts=(
            Part("item", written(films, work / "films.parquet"), options_of(source=source)),
            Part("user", written(people, work / "people.parquet"), options_of(source=source)),
            Part("event", folder / "u.data", ratings),
        ),
        notes=(_ASKED, "times tie often; ties keep the order of the file"),
    )


def is_ml_1m(folder: Path) -> bool:
    """Return whether the folder holds MovieLens 1M, as published or put back together."""
    rated = (folder / "ratings.dat").is_file() or _has(
        folder / "ratings.parquet", "user_id", "movie_id", "rating"
    )
    return rated and (folder / "movies.dat").is_file()


def ml_1m(folder: Path, work: Path) -> Dataset:
    """Return MovieLens 1M: 1,000,209 ratings, 6,040 users, 3,883 films with plots."""
    source = "ml-1m"
    films = named_columns(_lines(folder / "movies.dat"), ("item_id", "title", "genres"), "::")
    films = films.with_columns(kind=pl.lit("film"))
    if (folder / "movies_extrainfos.dat").is_file():
        names = (
            "item_id",
            "_title",
            "_year",
            "certificate",
            "released",
            "_genres",
            "director",
            "_writers",
            "actors",
            "description",
            "_poster",
        )
        more = named_columns(_lines(folder / "movies_extrainfos.dat"), names, "::").unique(
            "item_id"
        )
        films = films.join(
            more.select(n for n in names if not n.startswith("_")),
            on="item_id",
            how="left",
            maintain_order="left",
        )
    parts = [Part("item", written(films, work / "films.parquet"), options_of(source=source))]
    if (folder / "users.dat").is_file():
        people = named_columns(
            _lines(folder / "users.dat"), ("user_id", "gender", "age", "occupation", "zip"), "::"
        ).with_columns(
            pl.col("age").replace(_AGES),
            pl.col("occupation").replace({str(i): name for i, name in enumerate(_OCCUPATIONS)}),
        )
        path = written(people, work / "people.parquet")
        parts.append(Part("user", path, options_of(source=source)))
    rated = options_of(source=source, default_type="rating")
    if (folder / "ratings.parquet").is_file():
        ratings, notes = _ratings_with_order(folder / "ratings.parquet")
        parts.append(Part("event", written(ratings, work / "ratings.parquet"), rated))
    else:
        rated = options_of(
            {"user_id": "0", "item_id": "1", "rating": "2", "occurred_at": "3"},
            source=source,
            default_type="rating",
        )
        parts.append(Part("event", folder / "ratings.dat", rated))
        notes = ()
    return Dataset(source, "media", tuple(parts), (_ASKED, *notes))


def _ratings_with_order(path: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Rows in the exact order of each user (seq), timed by the upper bound of the second."""
    ratings = pl.read_parquet(path)
    if not {"seq", "ts_hi"} <= set(ratings.columns):
        return ratings.rename({"movie_id": "item_id"}), ()
    ordered = ratings.sort("user_id", "seq").select(
        "user_id", "rating", item_id="movie_id", timestamp="ts_hi"
    )
    unsure = 1 - ratings["ts_exact"].mean() if "ts_exact" in ratings.columns else 0.0  # type: ignore[operator]
    return ordered, (
        "the order inside each user is exact (seq); the time is the upper bound ts_hi, and "
        f"{unsure:.1%} of the times are not known to the second: a split by global time puts "
        "about 0.15% of the rows of an 80% cut on the wrong side",
    )


def _lines(path: Path) -> list[str]:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n").split("\n")


def _has(path: Path, *columns: str) -> bool:
    if not path.is_file():
        return False
    try:
        return set(columns) <= set(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError):
        return False
