"""A rate with everything that must come with it: n, an interval, and a reason when null."""

import polars as pl

Z95 = 1.959963984540054
"""97.5% quantile of the standard normal distribution."""


def with_rate(
    frame: pl.DataFrame,
    *,
    hits: str,
    n: str = "n",
    name: str = "rate",
    reason: str = "no users in the denominator",
) -> pl.DataFrame:
    """Return the frame with ``name``, ``name_low``, ``name_high`` and ``reason`` added.

    The interval is Wilson's 95% score interval

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).

    Where ``n`` is 0 all three are null and ``reason`` says why; elsewhere ``reason`` is null.

    References
    ----------
    wilson1927, equation for the limits of p.
    """
    k, total = pl.col(hits).cast(pl.Float64), pl.col(n).cast(pl.Float64)
    p = k / total
    centre = p + Z95**2 / (2 * total)
    spread = Z95 * (p * (1 - p) / total + Z95**2 / (4 * total**2)).clip(0).sqrt()
    scale = 1 + Z95**2 / total
    some = pl.col(n) > 0
    return frame.with_columns(
        pl.when(some).then(p).alias(name),
        pl.when(some).then(((centre - spread) / scale).clip(0, 1)).alias(f"{name}_low"),
        pl.when(some).then(((centre + spread) / scale).clip(0, 1)).alias(f"{name}_high"),
        pl.when(~some).then(pl.lit(reason)).alias("reason"),
    )
