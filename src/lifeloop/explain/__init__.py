"""Reasons that are true of the score."""
