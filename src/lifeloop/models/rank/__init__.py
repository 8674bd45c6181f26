"""The ranker: trees over what all retrievers say."""
