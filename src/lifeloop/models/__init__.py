"""Retrievers, the blend and rating prediction: fit -> fitted, history folded in per request."""
