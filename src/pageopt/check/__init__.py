"""Holds raw logs against the data contract: good rows go on, bad rows go to quarantine with a reason."""
