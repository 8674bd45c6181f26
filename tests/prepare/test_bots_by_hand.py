"""Programs among visitors, against the rules written out visitor by visitor."""

import itertools
import random
import statistics

import polars as pl
import pytest

from lifeloop.prepare import behaves_as_bot

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
LIMITS = {"per_minute": 3, "hours_per_day": 4, "regular_gaps": 3}

Action = tuple[str, int, str | None, bool]


def by_hand(actions: list[Action]) -> dict[str, set[str]]:
    told: dict[str, set[str]] = {name: set() for name in ("fast", "awake", "regular")}
    for who in {visitor for visitor, *_ in actions}:
        own = [a for a in actions if a[0] == who]
        lines = {(order, t) for _, t, order, is_line in own if is_line}
        times = sorted([t for _, t in lines] + [t for _, t, _, is_line in own if not is_line])
        clocked = [t for t in times if t % (HOUR // 2)]
        spans = zip(clocked, clocked[LIMITS["per_minute"] :], strict=False)
        if any(last - first < MINUTE for first, last in spans):
            told["fast"].add(who)
        hours = {t // HOUR for t in times}
        if any(sum(h // 24 == day for h in hours) >= 4 for day in {h // 24 for h in hours}):
            told["awake"].add(who)
        gaps = [b - a for a, b in itertools.pairwise(times)]
        if len(gaps) >= LIMITS["regular_gaps"]:
            mean = statistics.mean(gaps)
            if 1 <= mean <= DAY // 2 and statistics.stdev(gaps) < 0.02 * mean:
                told["regular"].add(who)
    return told


def some(rng: random.Random, visitor: str) -> list[Action]:
    n = rng.randint(1, 7)
    start = rng.randrange(30) * DAY + rng.randrange(DAY)
    step = rng.choice([MINUTE // 4, MINUTE // 2, HOUR // 2, HOUR, 5 * HOUR])
    loose = rng.choice([0, 0, step // 3])
    made: list[Action] = []
    for k in range(n):
        order = f"o{rng.randrange(3)}" if rng.random() < 0.2 else None
        at = start + k * step + rng.randint(0, loose)
        made += [(visitor, at, order, order is not None)] * rng.choice([1, 1, 2])
    return made


@pytest.mark.parametrize("seed", range(6))
def test_every_rule_finds_whom_it_finds_by_hand(seed: int) -> None:
    rng = random.Random(seed)
    actions = [action for n in range(250) for action in some(rng, f"v{n}")]
    rng.shuffle(actions)
    lines = pl.DataFrame(actions, ["visitor", "t_us", "order_id", "is_line"], orient="row")
    found = behaves_as_bot(lines, **LIMITS)
    wanted = by_hand(actions)
    assert list(found.values()) == list(wanted.values())
    assert all(0 < len(who) < 200 for who in wanted.values())


def test_as_few_actions_as_a_rule_takes_are_enough() -> None:
    base = DAY * 40 + 7 * MINUTE
    few = {
        "fast": [base + k * MINUTE // 5 for k in range(4)],
        "awake": [base + k * HOUR + k * k * MINUTE for k in range(4)],
        "regular": [base + k * 11 * HOUR for k in range(4)],
        "none": [base + k * k * 5 * HOUR for k in range(3)],
    }
    rows = [(who, t, None, False) for who, times in few.items() for t in times]
    lines = pl.DataFrame(
        rows,
        {"visitor": pl.String, "t_us": pl.Int64, "order_id": pl.String, "is_line": pl.Boolean},
        orient="row",
    )
    found = behaves_as_bot(lines, **LIMITS)
    assert [sorted(who) for who in found.values()] == [["fast"], ["awake"], ["fast", "regular"]]
