"""The hazard of churn: strictly as of a day, calibrated, explained; and its tables."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from lifeloop.errors import InputError, Unfit
from lifeloop.lifecycle import StageDefinitions
from lifeloop.lifecycle import churn as ch
from lifeloop.lifecycle.options import opened

DAY_US = 86_400_000_000
RULES = StageDefinitions(burn_in_days=7, churned_gap_days=14, at_risk_gap_days=10)


def log(n_users: int = 400, n_days: int = 200, seed: int = 1) -> pl.DataFrame:
    """Users who come at their own rate and leave for good on a day of their own."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        rate = rng.beta(1.5, 3.0)
        day = int(rng.integers(0, n_days - 20))
        leaves = day + int(rng.exponential(70)) + 1
        while day < min(leaves, n_days):
            kind = "purchase" if rng.random() < 0.3 else "visit"
            rows.append((f"u{user}", day * DAY_US + user, kind, float(rng.gamma(2.0, 9.0))))
            day += int(rng.geometric(rate))
    columns = ["user_id", "t_us", "type", "value"]
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        order_id=pl.lit(None, dtype=pl.String)
    )


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return log()


def panel(events: pl.DataFrame) -> ch.Panel:
    view = opened(events, {"burn_in_days": 7, "as_of": 200 * DAY_US})
    return ch.panel_of(view, RULES)


def test_what_is_known_on_a_day_does_not_depend_on_what_comes_after(events: pl.DataFrame) -> None:
    day = 120
    early = events.filter(pl.col("t_us") < (day + 1) * DAY_US)
    whole, past = panel(events), panel(early)
    a, b = ch.standing_at(whole, day), ch.standing_at(past, day)
    left = a.with_columns(user_id=whole.user_ids.gather(a["user"])).drop("user").sort("user_id")
    right = b.with_columns(user_id=past.user_ids.gather(b["user"])).drop("user").sort("user_id")
    assert left.equals(right)
    assert left.height > 50


def test_a_model_of_an_earlier_day_is_the_same_whatever_came_later(events: pl.DataFrame) -> None:
    known = 140
    # other futures, the same past: everybody comes once more on a late day
    more = events.group_by("user_id").first().with_columns(t_us=pl.lit(190 * DAY_US))
    other = pl.concat([events, more.select(events.columns)])
    made = [
        ch.fit_hazard(panel(e), known=known, weeks=4, rng=np.random.default_rng(2))
        for e in (events, other)
    ]
    x = ch.matrix(ch.standing_at(panel(events), known))
    assert made[0].probability(x).tolist() == made[1].probability(x).tolist()
    assert made[0].trained_to == known


def test_features_of_one_user_by_hand() -> None:
    rows = [
        ("a", 0, "visit", 0.0),
        ("a", 10, "purchase", 5.0),
        ("a", 10, "purchase", 2.0),
        ("a", 20, "refund", 2.0),
        ("a", 22, "visit", 0.0),
        ("a", 30, "purchase", 1.0),
    ]
    frame = pl.DataFrame(
        [(u, d * DAY_US, k, v, f"o{d}") for u, d, k, v in rows],
        schema=["user_id", "t_us", "type", "value", "order_id"],
        orient="row",
    )
    found = ch.standing_at(panel(frame), 24).row(0, named=True)
    assert found["silent_days"] == 2
    assert found["tenure_days"] == 24
    assert found["active_days"] == 3
    assert found["usual_gap"] == 11
    assert found["silent_ratio"] == pytest.approx(2 / 11)
    assert (found["orders"], found["money"], found["refunds"]) == (1, 7.0, 1)
    assert found["order_silent_days"] == 14
    assert found["active_7"] == 1


def test_churn_is_what_the_stages_call_so(events: pl.DataFrame) -> None:
    from lifeloop.lifecycle import transitions

    p = panel(events)
    moves = transitions(events, definitions=RULES, members=True, as_of=200 * DAY_US)
    late = moves.filter(pl.col("to") == "churned", pl.col("date").cast(pl.Int32) > 100)
    want = dict(late.group_by("user_id").agg(pl.col("date").cast(pl.Int64).min()).iter_rows())
    got = ch.churn_day_after(p, np.arange(len(p.user_ids)), 100)
    found = {u: int(d) for u, d in zip(p.user_ids, got, strict=True) if d < 1000}
    assert found == want


def test_chances_rank_and_are_right_on_average() -> None:
    # 1,600 users: of 400 only 150 are judged, and a C-index of so few moves by 0.05 either way
    events = log(n_users=1600)
    options: dict[str, Any] = {"definitions": RULES, "as_of": 200 * DAY_US, "within_days": 28}
    table = ch.churn_backtest(events, **options)
    rows = {row["model"]: row for row in table.iter_rows(named=True)}
    assert rows["hazard"]["brier"] < rows["base_rate"]["brier"]
    assert rows["hazard"]["brier"] < rows["silence"]["brier"]
    assert rows["hazard"]["c_index"] > 0.74
    assert rows["hazard"]["c_index"] > rows["silence"]["c_index"] + 0.02
    assert rows["base_rate"]["c_index"] == 0.5
    assert rows["hazard"]["stated"] == pytest.approx(rows["hazard"]["observed"], abs=0.07)
    cells = ch.churn_calibration(events, **options)
    assert cells["n"].sum() == rows["hazard"]["n"]
    members = ch.churn_calibration(events, members=True, **options)
    assert int(members["churned"].sum()) == rows["hazard"]["churned"]


def test_reasons_are_true_and_raise_the_risk(events: pl.DataFrame) -> None:
    p = panel(events)
    hazard = ch.fit_hazard(p, known=199, weeks=4, rng=np.random.default_rng(2))
    rows = ch.standing_at(p, 199)
    x = ch.matrix(rows)
    shares = hazard.shares(x)
    told = ch.reasons(hazard, x)
    assert len(told) == rows.height
    for n, row in enumerate(told[:50]):
        positive = np.sort(shares[n][shares[n] > 0])[::-1][:3]
        assert len([text for text in row if text]) == len(positive)
    at = int(np.argmax(rows["silent_days"].to_numpy()))
    assert any(f"{rows['silent_days'][at]:.0f} days" in text for text in told[at] if text)


def test_shares_add_up_to_the_log_odds(events: pl.DataFrame) -> None:
    p = panel(events)
    hazard = ch.fit_hazard(p, known=199, weeks=3, rng=np.random.default_rng(2))
    x = ch.matrix(ch.standing_at(p, 199))[:5]
    crossed = np.column_stack([np.repeat(x, 3, axis=0), np.tile([1.0, 2, 3], 5)])
    told = np.asarray(hazard.booster.predict(crossed, pred_contrib=True))
    raw = np.asarray(hazard.booster.predict(crossed, raw_score=True))
    assert told.sum(axis=1) == pytest.approx(raw)
    assert hazard.shares(x) == pytest.approx(told.reshape(5, 3, -1).mean(axis=1)[:, :-2])


def test_at_risk_value_is_chance_times_value(events: pl.DataFrame) -> None:
    table = ch.churn_risk(events, definitions=RULES, as_of=200 * DAY_US, within_days=28)
    known = table.filter(pl.col("value").is_not_null())
    assert known.height > 20
    assert (known["value_at_risk"] - known["p_churn"] * known["value"]).abs().max() == 0
    assert known["value_at_risk"].is_sorted(descending=True)
    assert table["p_churn"].is_between(0, 1).all()
    assert set(table["product_stage"]) <= {"acquisition", "conversion", "loyalty"}


def test_text_vectors_are_read_as_of_their_day(events: pl.DataFrame) -> None:
    p = panel(events)
    vectors = pl.DataFrame(
        {"user_id": ["u0", "u0", "u1"], "day": [50, 150, 10], "v0": [1.0, 2.0, 3.0]}
    )
    rows = ch.standing_at(p, 100, vectors=vectors)
    named = dict(zip(p.user_ids.gather(rows["user"]), rows["text.v0"], strict=True))
    assert named.get("u0", 1.0) == 1.0
    assert 2.0 not in named.values()


def complaints(events: pl.DataFrame, *, true: bool) -> pl.DataFrame:
    """Return 1 for visits in the last days of who leaves, 0 for others; by chance if not true."""
    last = pl.col("t_us").max().over("user_id") - pl.col("t_us") < 12 * DAY_US
    leaves = pl.col("t_us").max().over("user_id") < 180 * DAY_US
    said = events.select("user_id", day=pl.col("t_us") // DAY_US, v0=(last & leaves))
    v0 = said["v0"].cast(pl.Float64)
    v0 = v0 if true else v0.shuffle(seed=3)
    return said.with_columns(v0=v0).unique(["user_id", "day"], keep="last")


def test_text_is_read_where_it_foretold_and_left_where_it_did_not(events: pl.DataFrame) -> None:
    p = panel(events)
    plain = ch.fit_hazard(p, known=150, weeks=4, rng=np.random.default_rng(2))
    assert not plain.reads_text
    vectors = complaints(events, true=True)
    hazard = ch.fit_hazard(p, known=150, weeks=4, rng=np.random.default_rng(2), vectors=vectors)
    assert "text.v0" in hazard.names
    rows, bare = ch.standing_at(p, 150, vectors=vectors), ch.standing_at(p, 150)
    truth = ch.churned_within(p, rows, 150, 4)
    with_text = ch.brier(hazard.probability(ch.matrix(rows)), truth)
    assert with_text < 0.9 * ch.brier(plain.probability(ch.matrix(bare)), truth)
    told = ch.reasons(hazard, ch.matrix(rows))
    assert {len(row) for row in told} == {3}
    assert any("what they wrote" in row for row in told)
    assert not any("text." in str(one) for row in told for one in row)
    noise = complaints(events, true=False)
    deaf = ch.fit_hazard(p, known=150, weeks=4, rng=np.random.default_rng(2), vectors=noise)
    assert not deaf.reads_text


def test_the_tables_take_texts_and_learn_them_from_the_past_alone(events: pl.DataFrame) -> None:
    asked: list[int] = []

    def texts(known: int) -> pl.DataFrame:
        asked.append(known)
        return complaints(events, true=True)

    given: dict[str, Any] = {"definitions": RULES, "as_of": 200 * DAY_US, "within_days": 28}
    ch.churn_risk(events, texts=texts, **given)
    back = ch.churn_backtest(events, texts=texts, **given)
    ch.churn_calibration(events, texts=texts, **given)
    assert asked == [199 - 28, 199 - 56, 199 - 56]
    plain = ch.churn_backtest(events, **given)
    assert back["brier"][0] < plain["brier"][0]
    assert back["brier"][1:].equals(plain["brier"][1:])
    none = ch.churn_backtest(events, texts=lambda known: None, **given)
    assert none.equals(plain)


def test_c_index_by_hand() -> None:
    # pairs (sooner, later): (0, 1) right, (0, 2) right, (1, 2) tied
    assert ch.c_index(np.array([3.0, 1.0, 1.0]), np.array([1, 2, 3])) == pytest.approx(2.5 / 3)
    assert ch.c_index(np.array([3.0, 1.0]), np.array([9, 9])) is None


def test_brier_by_hand() -> None:
    assert ch.brier(np.array([1.0, 0.5]), np.array([True, False])) == pytest.approx(0.125)


def test_logs_that_teach_nothing_are_refused(events: pl.DataFrame) -> None:
    few = events.filter(pl.col("user_id").is_in(["u1", "u2"]))
    options: dict[str, Any] = {"definitions": RULES, "as_of": 200 * DAY_US}
    with pytest.raises(Unfit, match="too few users churned"):
        ch.churn_risk(few, **options)
    short = events.filter(pl.col("t_us") < 5 * DAY_US)
    with pytest.raises(Unfit, match="too short"):
        ch.churn_backtest(short, definitions=RULES, as_of=5 * DAY_US)
    with pytest.raises(Unfit, match="nobody to watch"):
        ch.churn_risk(events.clear(), definitions=RULES)
    with pytest.raises(InputError, match="within_days"):
        ch.churn_risk(events, within_days=3, **options)
    with pytest.raises(InputError, match="unknown end"):
        ch.survival(events, until="lunch", **options)  # type: ignore[arg-type]


def test_survival_watches_new_users_until_they_churn(events: pl.DataFrame) -> None:
    options: dict[str, Any] = {"definitions": RULES, "as_of": 200 * DAY_US}
    members = ch.survival(events, members=True, **options)
    first = dict(events.group_by("user_id").agg(pl.col("t_us").min() // DAY_US).iter_rows())
    assert all(first[user] >= 7 for user in members["user_id"])
    curve = ch.survival(events, **options)
    assert curve["survival"].is_sorted(descending=True)
    assert curve["ends"].sum() == members["ended"].sum()
    waits = ch.survival(events, until="next_order", members=True, **options)
    orders = events.filter(pl.col("type") == "purchase")
    days = orders.select("user_id", pl.col("t_us") // DAY_US).unique()
    assert int(waits["ended"].sum()) == days.height - days["user_id"].n_unique()
