"""Policies in NumPy: Thompson sampling by segment, on features from elsewhere (neural-linear), and the static page."""
