"""What is stored, as models and tables should see it: programs flagged, services known."""

from dataclasses import replace

import polars as pl

from lifeloop.config import Scenario
from lifeloop.contracts import Snapshot
from lifeloop.events.contextual import user_agents
from lifeloop.prepare import behaves_as_bot, is_crawler, service_codes


def screened(snapshot: Snapshot, scenario: Scenario) -> Snapshot:
    """Return the snapshot with ``is_bot`` set on the events of visitors that behave as programs.

    Nothing leaves it; ``clean.bots = "keep"`` switches the rule off. Bots by user agent are flagged
    when they come in.
    """
    return replace(snapshot, events=flagged(snapshot.events, scenario))


def flagged(events: pl.DataFrame, scenario: Scenario) -> pl.DataFrame:
    """Return events with ``is_bot`` set on those of visitors that behave as programs.

    ``events`` are whole histories: what somebody does shows only in all of it.
    """
    rules = scenario.clean
    if rules.bots == "keep" or events.is_empty():
        return events
    lines = events.select(
        "t_us",
        "order_id",
        visitor="user_id",
        is_line=pl.col("type").is_in([*scenario.order_types, *scenario.refund_types]),
    )
    bots = behaves_as_bot(
        lines,
        per_minute=rules.bot_events_per_minute,
        hours_per_day=rules.bot_hours_per_day,
        regular_gaps=rules.bot_regular_gaps,
    )
    found = set().union(*bots.values())
    if not found:
        return events
    said = pl.col("is_bot") | pl.col("user_id").is_in(sorted(found))
    return events.with_columns(is_bot=said)


def with_crawlers(events: pl.DataFrame) -> pl.DataFrame:
    """Set ``is_bot`` on events whose context names a known crawler as user agent.

    What the source says of itself (``is_bot`` given) stays.
    """
    context = events["context"]
    if not context.str.contains("(?i)agent").any():
        return events
    agents = user_agents(context)
    crawlers = [agent for agent in agents.drop_nulls().unique().to_list() if is_crawler(agent)]
    if not crawlers:
        return events
    found = agents.is_in(crawlers)
    return events.with_columns(
        is_bot=pl.when(pl.col("is_bot").is_null() & found)
        .then(pl.lit(value=True))
        .otherwise("is_bot")
    )


def services(snapshot: Snapshot, scenario: Scenario) -> list[str]:
    """Return items that are services (postage, fees), which are not to be recommended."""
    rules = scenario.clean
    if rules.service_lines == "keep":
        return []
    titles = snapshot.items.select("item_id", "title").unique("item_id")
    lines = snapshot.events.filter(pl.col("type").is_in(list(scenario.order_types)))
    titled = lines.select("item_id", is_line=pl.lit(value=True)).join(
        titles, on="item_id", how="left", maintain_order="left"
    )
    return service_codes(titled, always=rules.service_items, never=rules.product_items)
