"""What a person wrote before is told to the ranker: by hand, never from later, alike everywhere."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
from test_ranker_training import lists_of

from lifeloop import Lifeloop, request
from lifeloop.contracts import UNTIMED, Float, Int, Long, TrainData, Written
from lifeloop.encoders import NgramHash
from lifeloop.errors import BundleError
from lifeloop.evaluate import Catalogue, evaluate
from lifeloop.explain import Facts, Happened, explain
from lifeloop.explain.reasons import QUOTED
from lifeloop.models import Blend, FittedRanked, from_parts, histories, to_parts
from lifeloop.models.data import DAY_US, queries
from lifeloop.models.holdout import hold_out
from lifeloop.models.rank.boosted import Boosting, train_booster
from lifeloop.models.rank.features import WRITTEN, features, names
from lifeloop.models.rank.items import ItemFacts
from lifeloop.models.rank.ranked import Ranked
from lifeloop.models.rank.reranked import RankedScored
from lifeloop.models.rank.table import joined_tables, training_table
from lifeloop.models.retrieve.itemknn import ItemKNN
from lifeloop.models.retrieve.popularity import Popularity
from lifeloop.reading import TextReader
from lifeloop.testing.checkerboard import START_US, tiny
from lifeloop.text_settings import TextEncoding
from lifeloop.written import Told, Writings

READER = TextReader(NgramHash(), np.zeros(512, np.float32))
SETTINGS = TextEncoding(written=3, written_half_life_days=10)
TOPICS = ("guitar strings", "green tea", "leather wallet", "绿茶茶叶", "吉他琴弦", "真皮钱包")
KINDS = len(TOPICS)


def writings(
    texts: Sequence[tuple[int, int, str]],
    n_users: int,
    stated: Mapping[int, tuple[str, int | None]] = MappingProxyType({}),
) -> Writings:
    """Return (user, time, text) rows as what n people wrote."""
    rows = [(f"u{user:03}", at, seq, text) for seq, (user, at, text) in enumerate(texts)]
    schema = {"user_id": pl.String, "t_us": pl.Int64, "seq": pl.Int64, "text": pl.String}
    told = Told(
        pl.DataFrame(rows, schema=schema, orient="row"),
        {f"u{user:03}": own for user, own in stated.items()},
    )
    return Writings.of(READER, told, [f"u{n:03}" for n in range(n_users)], SETTINGS)


def one(written: Written, user: int, as_of_us: int, before_us: int) -> Float:
    told = written.at(np.array([user]), np.array([as_of_us]), np.array([before_us]))
    return np.asarray(told[0])


def unit(*weighted: tuple[float, str]) -> Float:
    whole = sum(weight * READER.read(text) for weight, text in weighted)
    return np.asarray(whole / np.linalg.norm(whole), dtype=np.float32)


def told_of(data: TrainData, written: Float | None, items: Int) -> Float:
    """Return the feature of some items, for the first person of the data."""
    asked = replace(histories(data, np.array([0], np.int32)), written=written)
    parts = [Popularity().fit(data, rng=np.random.default_rng(0))]
    table = features(lists_of(data, asked), asked, 0, items, parts=parts, facts=ItemFacts.of(data))
    return np.asarray(table[:, names(["popularity"]).index(WRITTEN)])


def with_texts(data: TrainData, texts: Sequence[str]) -> TrainData:
    vectors = READER.read_all(list(texts))
    return replace(data, content=vectors, content_ix=np.arange(len(texts), dtype=np.int32))


def test_the_feature_is_the_cosine_to_the_faded_sum_of_the_newest_texts() -> None:
    data = with_texts(tiny([0, 0], [0, 1], n_items=3), ["guitar strings", "green tea", "绿茶茶叶"])
    now = int(data.as_of_us)
    texts = [
        (0, now - 90 * DAY_US, "one too many"),
        (0, now - 20 * DAY_US, "strings for a guitar"),
        (0, now - 10 * DAY_US, "绿茶"),
        (0, now - DAY_US, "tea"),
    ]
    written = writings(texts, 1, {0: ("jazz guitar", now - 400 * DAY_US)})
    told = one(written, 0, now, now)
    by_hand = unit(
        (0.25, "strings for a guitar"), (0.5, "绿茶"), (2**-0.1, "tea"), (1.0, "jazz guitar")
    )
    np.testing.assert_allclose(told, by_hand, atol=1e-6)
    items = np.array([2, 0, 1], np.int32)
    want = [READER.read(t) @ by_hand for t in ("绿茶茶叶", "guitar strings", "green tea")]
    np.testing.assert_allclose(told_of(data, told[None, :], items), want, atol=1e-5)
    assert min(want) > 0.1


def test_it_is_missing_and_not_zero_where_nothing_was_written_or_nothing_can_be_read() -> None:
    data = tiny([0, 0], [0, 1], n_items=3)
    items = np.arange(3, dtype=np.int32)
    read = with_texts(data, ["tea", "guitar", "wallet"])
    word = READER.read("tea")[None, :]
    assert np.isnan(told_of(read, None, items)).all()
    assert np.isnan(told_of(read, np.zeros_like(word), items)).all()
    bare = replace(data, content=np.zeros((0, 1), np.float32), content_ix=np.full(3, -1, np.int32))
    assert np.isnan(told_of(bare, word, items)).all()
    silent = replace(read, content_ix=np.array([0, -1, 2], np.int32))
    assert np.isnan(told_of(silent, word, items)).tolist() == [False, True, False]
    nobody = writings([], 2)
    assert not nobody.at(np.array([0, 1]), np.zeros(2, np.int64), np.ones(2, np.int64)).any()


def test_words_are_compared_with_the_texts_of_items_and_not_with_their_pictures() -> None:
    data = tiny([0, 0], [0, 1], n_items=3)
    text, picture = [0.6, 0.0], [0.0, 0.8]
    rows = np.array([[*text, *picture], [0.0, 0.0, 0.0, 1.0], [0.0, 0.6, *picture]], np.float32)
    data = replace(data, content=rows, content_ix=np.arange(3, dtype=np.int32), blocks=(2, 2))
    words = np.array([[1.0, 0.0, 0.0, 0.0]], np.float32)
    told = told_of(data, words, np.arange(3, dtype=np.int32))
    np.testing.assert_allclose(told, [1.0, np.nan, 0.0])
    loaded = ItemFacts.load(ItemFacts.of(data).arrays())
    np.testing.assert_allclose(loaded.nearness(np.arange(3, dtype=np.int32), words[0]), told)


def test_only_what_came_strictly_before_counts() -> None:
    now = START_US + 50 * DAY_US
    past = [(0, now - DAY_US, "tea")]
    before = one(writings(past, 1), 0, now, now)
    later = [*past, (0, now, "guitar"), (0, now + 1, "wallet"), (1, now - DAY_US, "someone else")]
    np.testing.assert_array_equal(one(writings(later, 2), 0, now, now), before)
    for at in (now, now + DAY_US, None):  # a record made later, or nobody knows when
        same = one(writings(past, 1, {0: ("jazz", at)}), 0, now, now)
        np.testing.assert_array_equal(same, before)
    known = one(writings(past, 1, {0: ("jazz", now - 1)}), 0, now, now)
    assert not np.allclose(known, before)
    untimed = writings([(0, UNTIMED, "guitar"), *past], 1)
    np.testing.assert_array_equal(one(untimed, 0, now, now), before)


@pytest.mark.parametrize("horizon", ["last", "steps", "time", "basket"])
def test_what_is_held_out_never_tells_of_itself(horizon: str) -> None:
    """Each event has a review, written in that moment; two events share the last moment."""
    data = tiny([0] * 6 + [1] * 5, [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4], n_items=6)
    t_us = data.t_us.copy()
    t_us[5] = t_us[4]
    data = replace(data, t_us=t_us)
    reviews = [
        (int(u), int(t), f"review of {i}")
        for u, t, i in zip(data.user_ix, data.t_us, data.item_ix, strict=True)
    ]
    kind: Any = "last" if horizon == "steps" else horizon
    given: dict[str, Any] = {
        "horizon": kind, "share": 0.3, "repeats": False, "max_queries": 99,
        "last": 3 if horizon == "steps" else 1,
    }  # fmt: skip

    def found(texts: Sequence[tuple[int, int, str]]) -> tuple[Float, Long, Int]:
        told = replace(data, written=writings(texts, 2))
        cut = hold_out(told, rng=np.random.default_rng(0), **given).with_written(most=99)
        assert cut.queries.written is not None
        assert cut.before_us is not None
        first = [
            int(data.t_us[(data.user_ix == u) & np.isin(data.item_ix, cut.targets_of(b))].min())
            for b, u in enumerate(cut.user_ix)
        ]
        assert (cut.before_us <= np.array(first)).all()
        return cut.queries.written, cut.before_us, cut.user_ix

    rows, before, users = found(reviews)
    assert rows.any(axis=1).all()
    for row, moment, user in zip(rows, before, users, strict=True):
        known = [r for r in reviews if r[0] == user and r[1] < moment]
        wanted = one(writings(known, 2), int(user), int(moment), int(moment))
        np.testing.assert_allclose(row, wanted, atol=1e-5)  # ages scale all weights alike
    # and what is written later changes nothing
    for b, (moment, user) in enumerate(zip(before.tolist(), users.tolist(), strict=True)):
        more = [*reviews, (user, moment, "吉他"), (user, moment + DAY_US, "guitar")]
        again, _, _ = found(sorted(more, key=lambda row: row[1]))
        np.testing.assert_allclose(again[b], rows[b], atol=1e-6)


def test_words_of_years_ago_count_where_there_are_no_newer_ones() -> None:
    then = START_US - 4000 * DAY_US  # 2^-400 with a half-life of ten days
    told = one(writings([(0, then, "tea")], 1), 0, START_US, START_US)
    np.testing.assert_allclose(told, READER.read("tea"), atol=1e-6)
    newer = [(0, then, "tea"), (0, START_US - DAY_US, "guitar")]
    told = one(writings(newer, 1), 0, START_US, START_US)
    np.testing.assert_allclose(told, READER.read("guitar"), atol=1e-6)


def test_few_texts_are_read_where_reading_is_dear() -> None:
    now = START_US + 9 * DAY_US
    written = writings([(u, START_US, f"text {u}") for u in range(20)], 20)
    users, moment = np.arange(20, dtype=np.int32), np.full(20, now)
    assert written.at(users, moment, moment).any(axis=1).sum() == 20
    some = written.at(users, moment, moment, most=7)
    assert 5 <= some.any(axis=1).sum() <= 7


def test_a_slow_encoder_reads_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifeloop.written.MOST_SLOW", 4)
    told = writings([(u, START_US, f"text {u}") for u in range(20)], 20)
    users, moment = np.arange(20, dtype=np.int32), np.full(20, START_US + DAY_US)
    for name, most in (("hash", 12), ("tfidf", 12), ("e5", 4), ("my-model", 4)):
        reader = replace(READER, made_by=name)
        some = replace(told, reader=reader).at(users, moment, moment, most=12)
        assert most / 2 < some.any(axis=1).sum() <= most, name


def wordy() -> TrainData:
    """People use things of six kinds, at random; each review speaks of the kind that comes next."""
    rng = np.random.default_rng(4)
    n_users, n_items, length = 220, 48, 7
    people, items, texts = [], [], []
    for user in range(n_users):
        own = rng.permutation(n_items)[:length]
        people += [user] * length
        items += own.tolist()
        for n, item in enumerate(own[1:].tolist()):
            texts.append((user, START_US + n * DAY_US, TOPICS[item % KINDS]))
    data = tiny(people, items, n_items=n_items)
    day = np.tile(np.arange(length), n_users)
    data = replace(data, t_us=START_US + day * DAY_US, as_of_us=START_US + 400 * DAY_US)
    data = with_texts(data, [f"{TOPICS[i % KINDS]} {i}" for i in range(n_items)])
    return replace(data, written=writings(texts, n_users))


KEEN = Ranked(
    Blend(parts=(Popularity(), ItemKNN()), horizon="last"),
    boosting=Boosting(rounds=40, rate=0.1),
    margin=-1.0,
    least_people=20,
    most=400,
)


def fit(data: TrainData, kind: Literal["trees", "logistic"] = "trees") -> FittedRanked:
    return replace(KEEN, kind=kind).fit(data, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def told() -> FittedRanked:
    return fit(wordy())


def asking(words: str | None) -> Any:
    """Return one and the same history, of somebody who wrote these words before."""
    written = None if words is None else READER.read(words)[None, :]
    age = [np.array([3.0, 2.0, 1.0])]
    return queries([[0, 7, 20]], as_of_us=START_US + 9 * DAY_US, age_days=age, written=written)


@pytest.mark.parametrize("topic", range(KINDS))
def test_the_slate_follows_what_was_written_for_the_same_history(
    told: FittedRanked, topic: int
) -> None:
    assert told.reads_written
    assert any("read what people had written before" in note for note in told.notes)
    best = told.retrieve(asking(TOPICS[topic]), 5).item_ix[0]
    assert (best % KINDS == topic).sum() >= 4
    plain = told.retrieve(asking(None), 5).item_ix[0]
    assert (plain % KINDS == topic).sum() < 4


def test_amounts_still_sum_to_the_score_and_say_what_words_added(told: FittedRanked) -> None:
    asked = asking(TOPICS[0])
    scored = told.scored(asked)
    assert isinstance(scored, RankedScored)
    items = scored.retrieve(8).item_ix[0]
    amounts = scored.traces(0, items)
    np.testing.assert_allclose(amounts.sum(axis=(0, 2)), scored.total[0, items], atol=1e-5)
    part = [p.name for p in scored.parts]
    near = amounts[part.index("written"), :, -1]
    assert told.booster is not None
    table = scored._features(0, items)
    place = told.booster.names.index(WRITTEN)
    np.testing.assert_allclose(near, told.booster.shares(table)[:, place], atol=1e-9)
    assert near[0] > 0
    assert "written" not in [p.name for p in told.scored(asking(None)).parts]


def test_a_ranker_that_was_told_of_no_words_does_not_ask_for_any() -> None:
    silent = replace(wordy(), written=None)
    for kind in ("trees", "logistic"):
        fitted = fit(silent, kind)
        assert fitted.booster is not None
        assert not fitted.reads_written
    assert fit(wordy(), "logistic").reads_written


def test_a_bundle_keeps_the_feature_and_one_made_before_there_was_it_still_serves(
    told: FittedRanked,
) -> None:
    parts = to_parts(told)
    again = from_parts(parts)
    assert isinstance(again, FittedRanked)
    np.testing.assert_array_equal(again.score(asking("tea")), told.score(asking("tea")))
    # one of the version before: trained without the feature, and kept without the width of texts
    data = wordy()
    ranked = KEEN
    cuts = ranked.blend.slices(data, rng=np.random.default_rng(1), last=3)
    learned = ranked.blend.learn(cuts, rng=np.random.default_rng(2))
    table = joined_tables(
        [
            training_table(
                ranked.blend.of(c.data, f, learned), c, facts=ItemFacts.of(c.data), repeats=False
            )
            for c, f in zip(cuts, learned.fitted, strict=True)
        ]
    )
    every = names([part.name for part in ranked.blend.parts])
    old = [n for n, name in enumerate(every) if name != WRITTEN]
    before = train_booster(
        replace(table, features=np.ascontiguousarray(table.features[:, old])),
        tuple(every[n] for n in old),
        Boosting(rounds=20),
        rng=np.random.default_rng(3),
    )
    assert before is not None
    made = to_parts(replace(told, booster=before.fitted))
    del made["model"]["facts.text_width"]
    opened = from_parts(made)
    assert isinstance(opened, FittedRanked)
    assert not opened.reads_written
    assert opened.columns is not None
    asked = asking("tea")
    scored = opened.scored(asked)
    assert isinstance(scored, RankedScored)
    items = scored.retrieve(5).item_ix[0]
    np.testing.assert_allclose(
        scored.traces(0, items).sum(axis=(0, 2)), scored.total[0, items], atol=1e-5
    )
    np.testing.assert_array_equal(opened.score(asked), opened.score(asking(None)))


def test_a_bundle_with_a_feature_that_nobody_knows_is_refused(told: FittedRanked) -> None:
    parts = to_parts(told)
    text = parts["model"]["booster.names"].tobytes().decode()
    other = text.replace(WRITTEN, "written.mood").encode()
    parts["model"]["booster.names"] = np.frombuffer(other, np.uint8).copy()
    with pytest.raises(BundleError, match=r"written\.mood.*lifeloop train"):
        from_parts(parts)


class Spy:
    """Notes what an evaluation asks for."""

    def __init__(self, whole: Writings) -> None:
        self.whole = whole
        self.asked: list[tuple[Int, Long, Long]] = []

    def at(self, users: Int, as_of_us: Long, before_us: Long, *, most: int | None = None) -> Float:
        if most is None:  # a training reads no more than so many
            self.asked.append((users, as_of_us, before_us))
        return self.whole.at(users, as_of_us, before_us, most=most)


def test_an_evaluation_tells_the_ranker_what_was_written_before_the_target() -> None:
    data = wordy()
    assert isinstance(data.written, Writings)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{u:03}" for u in data.user_ix],
            "item_id": [f"i{i:02}" for i in data.item_ix],
            "t_us": data.t_us, "seq": np.arange(len(data.user_ix)), "weight": data.weight,
            "rating": np.full(len(data.user_ix), np.nan),
        }
    )  # fmt: skip
    spy = Spy(data.written)
    scores = []
    for written in (None, lambda ids: spy):
        report = evaluate(
            frame, {"ranked": KEEN}, protocol="loo",
            catalogue=Catalogue([f"i{i:02}" for i in range(48)], data.content, data.content_ix),
            written=written, rng=np.random.default_rng(0),
        )  # fmt: skip
        scores.append(report.models["ranked"].per_user["ndcg@10"].mean())
    assert scores[1] > scores[0] + 0.1
    ((users, _, before),) = spy.asked
    last = START_US + 6 * DAY_US
    assert (before == last - DAY_US + 1).all()  # right after the event before the target
    assert len(users) == 220


SHOP = {
    "name": "trees", "extends": "ecommerce", "recommend": {"diversity": 0.0, "temperature": 0.0},
    "models": {
        "ranker": "trees", "text_encoder": "hash", "ease_items": 10, "text": {"written": 3},
    },
}  # fmt: skip


def test_a_request_is_told_what_a_held_out_query_of_that_moment_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ranked, "fit", _keen(Ranked.fit))
    data = wordy()
    assert isinstance(data.written, Writings)
    own = data.written
    items = [{"item_id": f"i{i:02}", "title": f"{TOPICS[i % KINDS]} {i}"} for i in range(48)]
    events = []
    for n, (user, item) in enumerate(
        zip(data.user_ix.tolist(), data.item_ix.tolist(), strict=True)
    ):
        place = n % 7
        text = None if place == 6 else own.text[6 * user + place]
        events.append({
            "user_id": f"u{user:03}", "type": "purchase", "item_id": f"i{item:02}", "text": text,
            "occurred_at": int(data.t_us[n]) // 1_000_000, "order_id": f"o{n}", "value": 1.0,
            "event_id": f"e{n}",
        })  # fmt: skip
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, events)))
    now = START_US + 40 * DAY_US
    with Lifeloop.open(tmp_path / "p", scenario=SHOP, clock=lambda: now) as loop:
        loop.import_items(tmp_path / "items.jsonl")
        loop.import_events(tmp_path / "events.jsonl")
        loop.train()
        model = loop.model()
        assert isinstance(model.blend, FittedRanked)
        assert model.blend.reads_written
        assert model.reader is not None
        history = loop.store.histories(["u003"])[0]
        asked = request.Request.of("u003", {}, t_us=now, seq=1, seed=0)
        live = request.ask(model, history, scenario=loop.scenario, request=asked)
        text = loop.scenario.models.text
        wrote = Told.of(loop.store.snapshot(), text)
        users = ["u002", "u003"]
        trained = Writings.of(model.reader, wrote, users, text)
        assert live.queries.written is not None
        np.testing.assert_array_equal(live.queries.written[0], one(trained, 1, now, now))
        # words asked for now are another matter, and so is a person without a history
        searching = request.Request.of("u003", {"query": "tea"}, t_us=now, seq=1, seed=0)
        given: dict[str, Any] = {"scenario": loop.scenario}
        asked_for = request.ask(model, history, request=searching, **given).queries
        assert asked_for.written is None
        assert asked_for.mask is not None
        nobody = loop.store.histories(["nobody"])[0]
        assert request.ask(model, nobody, request=asked, **given).queries.written is None
        # a robot's words are not the person's
        bots = replace(history, is_bot=np.ones(len(history), np.bool_))
        assert request.ask(model, bots, request=asked, **given).queries.written is None
        # two people of one history who write of other things are shown other things, at once
        for user, words in (("ada", "leather wallet"), ("bob", "吉他琴弦")):
            for n, item in enumerate(("i00", "i07")):
                loop.record({
                    "user_id": user, "type": "purchase", "item_id": item, "value": 1.0,
                    "order_id": f"{user}{n}", "text": words,
                    "occurred_at": (now - (3 - n) * DAY_US) // 1_000_000,
                })  # fmt: skip
        ada, bob = loop.recommend("ada", k=4), loop.recommend("bob", k=4)
        assert [int(row.item_id[1:]) % KINDS for row in ada.items] == [2] * 4
        assert [int(row.item_id[1:]) % KINDS for row in bob.items] == [4] * 4
        assert "near to what you wrote: ‘leather wallet’" in [r.reason.text for r in ada.items]
        assert "near to what you wrote: ‘吉他琴弦’" in [r.reason.text for r in bob.items]


def _keen(fit: Any) -> Any:
    def whatever_they_gain(
        self: Ranked, data: TrainData, *, rng: np.random.Generator
    ) -> FittedRanked:
        assert self.kind == "trees"
        made: FittedRanked = fit(KEEN, data, rng=rng)
        return made

    return whatever_they_gain


def test_the_reason_quotes_what_was_written_in_both_languages_and_shortens_it() -> None:
    amounts = {"written": np.array([0.1, 0.0, 2.0]), "ease": np.array([0.1, 0.1, 0.0])}
    happened = [Happened("a", "bought"), Happened("b", "bought")]
    facts = Facts(wrote="green tea")
    assert explain(amounts, happened, facts=facts).evidence.text == (
        "near to what you wrote: ‘green tea’"
    )
    zh = explain(amounts, happened, facts=Facts(wrote="绿茶"), language="zh")
    assert zh.evidence.text == "与您写过的“绿茶”相近"
    assert zh.kind == "written"
    long = explain(amounts, happened, facts=Facts(wrote="very good strings\n" * 30))
    quoted = long.evidence.text.partition("‘")[2].rstrip("’")
    assert quoted.startswith("very good strings very good")
    assert quoted.endswith("…")
    assert len(quoted) <= QUOTED
    assert "\n" not in quoted
    # without words to quote nothing is claimed
    assert explain(amounts, happened).evidence.text == explain({}, []).evidence.text


def test_the_words_of_programs_and_of_people_who_refuse_are_not_learned_from(
    tmp_path: Path,
) -> None:
    with Lifeloop.open(tmp_path / "p", scenario=SHOP, clock=lambda: START_US + DAY_US) as loop:
        for user, bot in (("ada", False), ("bob", True), ("cyd", False)):
            loop.record({
                "user_id": user, "type": "search", "text": f"tea of {user}", "is_bot": bot,
                "occurred_at": START_US // 1_000_000,
            })  # fmt: skip
        (tmp_path / "users.jsonl").write_text(
            "\n".join(
                json.dumps(row)
                for row in (
                    {"user_id": "ada", "attributes": {"interests": ["jazz"]},
                     "created_at": START_US // 1_000_000},
                    {"user_id": "cyd", "attributes": {"interests": ["jazz"]},
                     "consent": {"personalisation": False}},
                )
            )
        )  # fmt: skip
        loop.import_users(tmp_path / "users.jsonl")
        told = Told.of(loop.store.snapshot(), loop.scenario.models.text)
    assert told.texts["text"].to_list() == ["tea of ada"]
    assert told.stated == {"ada": ("jazz", START_US)}
