"""Benchmarks: each function returns a dict of figures, each beside the peer or limit measured in the same run."""
