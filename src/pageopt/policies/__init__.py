"""Policies in NumPy: Thompson sampling by segment, and the static page."""
