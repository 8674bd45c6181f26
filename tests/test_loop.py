"""The two walks end to end, on a small shop with known tastes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop import Event, Lifeloop, Scenario
from lifeloop.contracts import Decision
from lifeloop.errors import InputError, NoModel, UnknownId
from lifeloop.events import User, frame_of
from lifeloop.events.records import USER_SCHEMA
from lifeloop.models import FittedBayesianRating
from lifeloop.policy import propensities

pytestmark = pytest.mark.slow

DAY = 86_400_000_000
T0 = 1_735_689_600_000_000  # 2025-01-01 UTC
NOW = T0 + 60 * DAY
TOPICS = ("tea", "rope", "lamp")
SETTINGS: dict[str, Any] = {
    "name": "test shop",
    "extends": "ecommerce",
    "models": {"text_encoder": "tfidf", "ease_items": 50},
}


def fill(loop: Lifeloop, folder: Path, *, n_users: int = 60, per_topic: int = 8) -> None:
    """Every user buys inside one topic; item titles name the topic."""
    rng = np.random.default_rng(3)
    items = [f"{topic}-{i}" for topic in TOPICS for i in range(per_topic)]
    pl.DataFrame(
        {
            "item_id": [*items, "tea-new"],
            "title": [f"{i.split('-')[0]} number {i.split('-')[1]}" for i in [*items, "tea-new"]],
            "price": [1.0] * (len(items) + 1),
        }
    ).write_csv(folder / "items.csv")
    rows = []
    for user in range(n_users):
        topic = TOPICS[user % 3]
        for n, item in enumerate(rng.permutation(per_topic)[:5]):
            t_us = T0 + int(rng.integers(0, 50)) * DAY + n
            rows.append((f"u{user}", "purchase", f"{topic}-{item}", t_us, f"o{user}-{n}", 2.0))
    frame = pl.DataFrame(
        rows,
        schema=["user_id", "type", "item_id", "occurred_us", "order_id", "value"],
        orient="row",
    )
    frame.with_columns(
        pl.from_epoch("occurred_us", time_unit="us")
        .dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        .alias("occurred_at")
    ).drop("occurred_us").write_csv(folder / "events.csv")
    loop.import_items(folder / "items.csv")
    loop.import_events(folder / "events.csv")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Lifeloop]:
    with Lifeloop.open(tmp_path / "shop", scenario=SETTINGS, clock=lambda: NOW) as loop:
        fill(loop, tmp_path)
        loop.train()
        yield loop


def topic_share(answer: object, topic: str) -> float:
    ids: list[str] = [r.item_id for r in answer]  # type: ignore[attr-defined]
    return sum(i.startswith(topic) for i in ids) / len(ids)


def test_a_recorded_event_changes_the_next_recommendation_without_training(shop: Lifeloop) -> None:
    before = shop.recommend("newcomer", k=3)
    assert before.fallback == "no_history"
    report = shop.record({"user_id": "newcomer", "type": "view", "item_id": "rope-1"})
    assert report.accepted == 1
    after = shop.recommend("newcomer", k=3)
    assert after.fallback is None
    assert topic_share(after, "rope") == 1.0
    assert after[0].reason.items[0][0] == "rope-1"
    assert "rope number 1" in after[0].reason.text


def test_a_user_unknown_in_training_is_served_personally_and_not_like_others(
    shop: Lifeloop,
) -> None:
    for topic in TOPICS:
        shop.record({"user_id": f"fan-{topic}", "type": "add_to_cart", "item_id": f"{topic}-0"})
        shop.record({"user_id": f"fan-{topic}", "type": "view", "item_id": f"{topic}-1"})
    lists = {t: [r.item_id for r in shop.recommend(f"fan-{t}", k=4)] for t in TOPICS}
    assert len({tuple(ids) for ids in lists.values()}) == 3
    assert all(i.startswith(t) for t, ids in lists.items() for i in ids)


def test_an_unknown_user_gets_a_named_fallback_that_context_changes(shop: Lifeloop) -> None:
    plain = shop.recommend("nobody", k=5)
    assert plain.fallback == "no_history"
    assert len(plain) == 5
    searched = shop.recommend("nobody", k=5, context={"query": "a lamp"})
    looked = shop.recommend("nobody", k=5, context={"items": ["rope-2"]})
    assert searched.fallback is None
    assert looked.fallback is None
    assert topic_share(searched, "lamp") == 1.0
    assert topic_share(looked, "rope") == 1.0
    assert "a lamp" in searched[0].reason.text


def test_an_item_without_events_is_recommended_through_its_content(shop: Lifeloop) -> None:
    ids = [r.item_id for r in shop.recommend("u0", k=20)]
    assert "tea-new" in ids
    assert ids.index("tea-new") < min(ids.index(i) for i in ids if not i.startswith("tea"))


def test_the_shelf_is_remembered_until_an_item_comes_or_goes(shop: Lifeloop) -> None:
    held = shop.model().catalogue
    free = held.shelf(NOW)
    assert held.shelf(NOW + DAY) is free
    from_us, until_us = held.from_us.copy(), held.until_us.copy()
    from_us[3], until_us[5] = NOW + DAY, NOW + 3 * DAY
    stocked = held.in_stock.copy()
    stocked[0] = False
    other = replace(held, from_us=from_us, until_us=until_us, in_stock=stocked)
    shown = [other.shelf(NOW + day * DAY) for day in (0, 1, 2, 3, 4, 0)]
    assert [may.allowed[[0, 3, 5]].tolist() for may in shown] == [
        [False, False, True], [False, True, True], [False, True, True],
        [False, True, False], [False, True, False], [False, False, True],
    ]  # fmt: skip
    assert shown[1] is shown[2]
    assert [may.excluded for may in shown[:2]] == [
        {"not available now": 1, "out of stock": 1}, {"out of stock": 1},
    ]  # fmt: skip


def test_consumed_items_stay_out_until_their_repeat_window_is_over(tmp_path: Path) -> None:
    scenario = {**SETTINGS, "recommend": {"repeat_window_days": 5.0}}
    now = {"us": NOW}
    with Lifeloop.open(tmp_path / "s", scenario=scenario, clock=lambda: now["us"]) as loop:
        fill(loop, tmp_path)
        loop.train()
        loop.record({"user_id": "u0", "type": "purchase", "item_id": "tea-0", "order_id": "x"})
        assert "tea-0" not in [r.item_id for r in loop.recommend("u0", k=25)]
        now["us"] += 6 * DAY
        loop.record({"user_id": "u0", "type": "visit"})
        assert "tea-0" in [r.item_id for r in loop.recommend("u0", k=25)]


def test_a_user_who_used_everything_gets_a_short_list_and_the_reason(shop: Lifeloop) -> None:
    for topic in TOPICS:
        for n in range(8):
            shop.record(
                {
                    "user_id": "glutton",
                    "type": "purchase",
                    "item_id": f"{topic}-{n}",
                    "order_id": f"g{topic}{n}",
                }
            )
    answer = shop.recommend("glutton", k=10)
    assert [r.item_id for r in answer] == ["tea-new"]
    assert answer.shortfall is not None
    assert "24 used already" in answer.shortfall
    assert len(shop.recommend("u1", k=10)) == 10


def test_the_decision_is_logged_as_answered_and_its_propensities_are_exact(tmp_path: Path) -> None:
    scenario = {**SETTINGS, "recommend": {"temperature": 0.4, "diversity": 0.2}}
    with Lifeloop.open(tmp_path / "s", scenario=scenario, clock=lambda: NOW) as loop:
        fill(loop, tmp_path)
        loop.train()
        answer = loop.recommend("u3", k=4, context={"surface": "home"})
        (decision,) = loop.store.decisions()
        assert decision.request_id == answer.request_id
        assert decision.slate_ids == tuple(r.item_id for r in answer)
        assert decision.propensities == tuple(r.propensity for r in answer)
        assert decision.surface == "home"
        assert decision.bundle == answer.bundle
        assert all(0 < p < 1 for p in decision.propensities)
        again = recomputed(loop, decision)
        np.testing.assert_allclose(again, decision.propensities, rtol=1e-5)


def recomputed(loop: Lifeloop, decision: Decision) -> np.ndarray:
    from lifeloop.contracts import PolicyState

    catalogue = loop.model().catalogue
    rows = catalogue.content_ix[[catalogue.ix[i] for i in decision.candidate_ids]]
    picked = [decision.candidate_ids.index(i) for i in decision.slate_ids]
    return propensities(
        np.array(decision.candidate_scores),
        np.array(picked, np.int32),
        similarity=(catalogue.content[rows], rows >= 0),
        allowed=np.ones(len(rows), np.bool_),
        state=PolicyState(
            temperature=decision.policy["temperature"],
            diversity=decision.policy["diversity"],
            scale=decision.policy["scale"],
        ),
    )


def test_the_decision_is_kept_before_it_is_answered(shop: Lifeloop) -> None:
    class Broken(RuntimeError):
        pass

    def fail(decision: Decision) -> None:
        raise Broken

    shop.store.log_decision = fail  # type: ignore[method-assign]
    with pytest.raises(Broken):
        shop.recommend("u0")


def test_reasons_name_only_what_the_user_did(shop: Lifeloop) -> None:
    history = shop.store.histories(["u4"])[0]
    own = set(history.item_id)
    for r in shop.recommend("u4", k=10):
        assert {item for item, _ in r.reason.items} <= own
        assert all(amount > 0 for _, amount in r.reason.items)


def test_rollback_goes_back_to_the_bundle_before(shop: Lifeloop) -> None:
    first = shop.store.active_bundle()
    assert first is not None
    shop.record({"user_id": "u0", "type": "view", "item_id": "lamp-1"})
    second = shop.train()["bundle"]
    assert shop.recommend("u0").bundle == second
    assert shop.rollback() == first
    assert shop.recommend("u0").bundle == first


def test_bundles_are_dated_by_the_clock_given_and_told_apart_when_it_stands_still(
    shop: Lifeloop,
) -> None:
    first, second = shop.store.bundles()[0], shop.train()
    assert first["at_us"] == NOW
    assert first["manifest"]["created"] == "2025-03-02T00:00:00+00:00"
    assert str(first["bundle"]).startswith("20250302T000000000000-")
    assert str(second["bundle"]).startswith("20250302T000000000001-")
    assert second["created"] == "2025-03-02T00:00:00+00:00"
    assert shop.store.activations() == [(first["bundle"], NOW), (second["bundle"], NOW + 1)]


def test_retraining_with_new_items_answers_from_one_bundle(shop: Lifeloop, tmp_path: Path) -> None:
    old = shop.model()
    more = tmp_path / "more.csv"
    pl.DataFrame(
        {"item_id": ["aaa", "zzz"], "title": ["rope number 90", "tea number 91"]}
    ).write_csv(more)
    shop.import_items(more)
    assert shop.model() is old
    shop.train()
    new = shop.model()
    assert new.catalogue.n_items == old.catalogue.n_items + 2
    assert new.blend.n_items == new.catalogue.n_items
    ids = [r.item_id for r in shop.recommend("u0", k=27)]
    assert {"aaa", "zzz"} <= set(ids)


def test_a_second_process_sees_the_active_bundle_and_the_same_answer(shop: Lifeloop) -> None:
    with Lifeloop.open(shop.home, scenario=shop.scenario, clock=lambda: NOW) as other:
        mine = [(r.item_id, r.score) for r in shop.recommend("u5")]
        assert [(r.item_id, r.score) for r in other.recommend("u5")] == mine


def test_an_untrained_project_answers_with_the_reason(tmp_path: Path) -> None:
    with Lifeloop.open(tmp_path, scenario=SETTINGS, clock=lambda: NOW) as loop:
        answer = loop.recommend("ada")
        assert len(answer) == 0
        assert answer.fallback == "no_model"
        assert "lifeloop train" in str(answer.shortfall)
        with pytest.raises(NoModel):
            loop.similar("tea")
        with pytest.raises(InputError, match="nothing to recommend"):
            loop.train()


@pytest.mark.parametrize(
    ("user", "k", "context"),
    [("", 10, None), ("u", 0, None), ("u", 10**6, None), ("u", True, None), ("u", 3, [1])],
)
def test_a_malformed_request_is_refused(shop: Lifeloop, user: str, k: int, context: object) -> None:
    with pytest.raises(InputError):
        shop.recommend(user, k=k, context=context)  # type: ignore[arg-type]


@pytest.mark.parametrize("context", [{"items": "tea-1"}, {"items": ["none such"]}, {"device": 3}])
def test_any_other_context_is_logged_and_harmless(
    shop: Lifeloop, context: dict[str, object]
) -> None:
    answer = shop.recommend("u0", k=3, context=context)
    assert len(answer) == 3
    assert dict(next(iter(shop.store.decisions())).context) == context


def test_who_refuses_personalisation_gets_what_a_stranger_gets_at_the_next_request(
    shop: Lifeloop,
) -> None:
    stranger = [(r.item_id, r.score) for r in shop.recommend("nobody", k=5)]
    before = shop.recommend("u0", k=5)
    assert before.fallback is None
    assert [(r.item_id, r.score) for r in before] != stranger
    for allowed, seconds in ((False, 1), (True, 2)):
        user = User(
            user_id="u0",
            consent={"personalisation": allowed},
            attributes={"interests": "lamp number 3"},
        )
        shop.store.put_users(frame_of([user], USER_SCHEMA), received_us=NOW + seconds)
        given = shop.recommend("u0", k=5)
        if allowed:
            assert [r.item_id for r in given] == [r.item_id for r in before]
            continue
        assert given.fallback == "no_history"
        assert [(r.item_id, r.score) for r in given] == stranger
        assert all(not r.reason.items for r in given)
        assert given.stage == "acquisition"
        session = shop.store.histories(["u1"])[0]
        again = shop.recommend("u0", k=5, session=session)
        assert [(r.item_id, r.score) for r in again] == stranger


def test_what_of_the_context_had_no_part_in_the_choice_is_named(shop: Lifeloop) -> None:
    given = {"device": "phone", "quarry": "tea", "items": ["none such"], "surface": "home"}
    assert shop.recommend("u0", k=3, context=given).context_unused == ("device", "items", "quarry")
    used = {"query": "rope", "items": ["tea-1", "none such"], "surface": "home"}
    assert shop.recommend("u0", k=3, context=used).context_unused == ()
    unread = shop.recommend("u0", k=3, context={"query": "qqqq zzzz"})
    assert unread.context_unused == ("query",)
    assert unread.to_dict()["context_unused"] == ("query",)
    assert shop.recommend("u0", k=3).context_unused == ()


def test_similar_items_share_the_topic_and_never_name_the_item_itself(shop: Lifeloop) -> None:
    found = shop.similar("lamp-2", k=5)
    assert all(r.item_id.startswith("lamp") for r in found)
    assert "lamp-2" not in {r.item_id for r in found}
    with pytest.raises(UnknownId):
        shop.similar("no such item")


def test_a_rating_is_predicted_or_the_reason_given(shop: Lifeloop) -> None:
    assert shop.predict("u0", "tea-1").value is None
    assert shop.predict("u0", "tea-1").reason == "no_ratings"
    assert shop.predict("u0", "nothing").reason == "unknown_item"
    for user in range(12):
        for n in range(4):
            liked = 5.0 if user % 3 == 0 else 1.0
            shop.record(
                {"user_id": f"u{user}", "type": "rating", "item_id": f"tea-{n}", "rating": liked}
            )
    shop.train()
    high, low = shop.predict("u0", "tea-1"), shop.predict("u1", "tea-1")
    assert high.value is not None
    assert low.value is not None
    assert 1.0 <= low.value < high.value <= 5.0


def test_a_project_may_predict_ratings_by_sampling(tmp_path: Path) -> None:
    settings = {**SETTINGS, "models": {**SETTINGS["models"], "ratings": "bayesian"}}
    with Lifeloop.open(tmp_path / "shop", scenario=settings, clock=lambda: NOW) as loop:
        fill(loop, tmp_path)
        for user in range(12):
            for n in range(4):
                liked = 5.0 if user % 3 == 0 else 1.0
                loop.record(
                    {
                        "user_id": f"u{user}",
                        "type": "rating",
                        "item_id": f"tea-{n}",
                        "rating": liked,
                    }
                )
        loop.train()
        assert isinstance(loop.model().rating, FittedBayesianRating)
        high, low = loop.predict("u0", "tea-1"), loop.predict("u1", "tea-1")
    assert high.value is not None
    assert low.value is not None
    assert 1.0 <= low.value < high.value <= 5.0


def test_the_stage_of_one_user_is_the_stage_in_the_table(shop: Lifeloop) -> None:
    from lifeloop.overview import stage_table

    table = stage_table(shop.store, shop.scenario, moment=shop.moment())
    for row in table.head(12).iter_rows(named=True):
        one = shop.stage(row["user_id"])
        assert (one.stage, one.rule) == (row["stage"], row["rule"])
    told = shop.stages()
    assert sum(s["users"] for s in told["stages"]) == told["users"] == 60


def test_a_backfill_of_old_events_makes_nobody_new(shop: Lifeloop) -> None:
    before = shop.stage("u0")
    report = shop.record(
        {"user_id": "u0", "type": "view", "item_id": "tea-1", "occurred_at": T0 - 300 * DAY}
    )
    assert report.accepted == 1
    after = shop.stage("u0")
    assert after.activity != "new"
    assert after.stage == before.stage


@pytest.mark.parametrize("odd", ["a/b", "用户;1", "007", "x" * 300, "🛒", 'it\'s "q", x', "-1"])
def test_odd_ids_round_trip_through_file_store_bundle_and_answer(tmp_path: Path, odd: str) -> None:
    with Lifeloop.open(tmp_path / "s", scenario=SETTINGS, clock=lambda: NOW) as loop:
        fill(loop, tmp_path, n_users=20)
        pl.DataFrame({"item_id": [odd], "title": ["tea number 77"]}).write_csv(tmp_path / "i.csv")
        loop.import_items(tmp_path / "i.csv")
        pl.DataFrame(
            {
                "user_id": [odd, odd],
                "type": ["view", "view"],
                "item_id": ["tea-1", odd],
                "occurred_at": ["2025-02-01T00:00:00Z", "2025-02-01T00:00:01Z"],
            }
        ).write_csv(tmp_path / "e.csv")
        assert loop.import_events(tmp_path / "e.csv").accepted == 2
        loop.train()
        answer = loop.recommend(odd, k=25)
        assert answer.user_id == odd
        assert odd in [r.item_id for r in answer]
        assert odd in {item for r in answer for item, _ in r.reason.items}
        assert json.loads(json.dumps(answer.to_dict()))["user_id"] == odd
        assert loop.stage(odd).user_id == odd


def test_shuffling_the_log_changes_no_stage_and_no_recommendation(tmp_path: Path) -> None:
    answers = []
    with Lifeloop.open(tmp_path / "first", scenario=SETTINGS, clock=lambda: NOW) as loop:
        fill(loop, tmp_path)
        loop.train()
        answers.append(snapshot_of(loop))
    shuffled = pl.read_csv(tmp_path / "events.csv").sample(fraction=1.0, shuffle=True, seed=5)
    shuffled.write_csv(tmp_path / "shuffled.csv")
    with Lifeloop.open(tmp_path / "second", scenario=SETTINGS, clock=lambda: NOW) as loop:
        loop.import_items(tmp_path / "items.csv")
        loop.import_events(tmp_path / "shuffled.csv")
        loop.train()
        answers.append(snapshot_of(loop))
    assert answers[0] == answers[1]


def snapshot_of(loop: Lifeloop) -> list[object]:
    users = [f"u{n}" for n in range(12)]
    return [[(r.item_id, round(r.score, 5)) for r in loop.recommend(user)] for user in users] + [
        loop.stage(user) for user in users
    ]


def test_events_without_time_feed_the_models_and_not_the_lifecycle(tmp_path: Path) -> None:
    with Lifeloop.open(tmp_path / "s", scenario=SETTINGS, clock=lambda: NOW) as loop:
        pl.DataFrame(
            {
                "user_id": ["a", "a", "b", "b", "c"],
                "item_id": ["x", "y", "x", "y", "x"],
                "type": ["view"] * 5,
            }
        ).write_csv(tmp_path / "e.csv")
        report = loop.import_events(tmp_path / "e.csv")
        assert report.accepted == 5
        assert [(r.reason, r.count) for r in report.flagged] == [("untimed", 5)]
        assert loop.stages()["users"] == 0
        loop.train()
        assert loop.recommend("c", k=1)[0].item_id == "y"
        assert loop.stage("c").rule.startswith("no_timed_events")


def test_an_event_object_and_a_mapping_are_the_same(shop: Lifeloop) -> None:
    one = shop.record(Event(type="view", user_id="z", item_id="tea-1", occurred_us=T0))
    two = shop.record({"type": "view", "user_id": "z", "item_id": "tea-1", "occurred_at": T0})
    assert one.accepted == two.accepted == 1
    assert len(shop.store.histories(["z"])[0]) == 2


def test_a_refused_live_event_is_reported_and_kept(shop: Lifeloop) -> None:
    report = shop.record({"user_id": "null", "type": "view", "item_id": "tea-1"})
    assert (report.accepted, report.rejected) == (0, 1)
    (row,) = shop.store.quarantined()
    assert row.reason == report.reasons[0].reason
    assert dict(row.raw)["item_id"] == "tea-1"


def test_the_scenario_object_is_taken_as_it_is(tmp_path: Path) -> None:
    scenario = Scenario.load(SETTINGS)
    with Lifeloop.open(f"sqlite:///{tmp_path / 'x.db'}", scenario=scenario) as loop:
        assert loop.scenario is scenario
        assert loop.home == tmp_path
