"""From scores to a page: the reference beam search and the same search as one graph."""
