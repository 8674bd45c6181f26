"""Retrievers: popularity, content, item-kNN, transitions, EASE. Each folds the history in."""
