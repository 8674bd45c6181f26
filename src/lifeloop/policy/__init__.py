"""Masks, diversity and the draw: from scored candidates to a slate with propensities."""
