"""Splits, ranking metrics, protocols and their report."""
