"""lifeloop: a recommender system that manages the whole life of a user."""
