"""A user's features by id."""
