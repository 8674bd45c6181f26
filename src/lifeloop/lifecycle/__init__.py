"""Where every user stands: activity states, product stages, metrics. Pure functions."""
