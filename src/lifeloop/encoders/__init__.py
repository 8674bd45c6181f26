"""Text to vectors, cached by content so that nothing is encoded twice."""
