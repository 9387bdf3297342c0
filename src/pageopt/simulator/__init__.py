"""A shop whose truth is known: contexts, clicks, purchases, and the exact value of any policy."""
