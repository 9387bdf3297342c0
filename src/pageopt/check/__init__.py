"""Holds raw logs against the data contract: good rows go on, bad rows go to quarantine with a reason."""

from pageopt.check.logs import CheckedLogs, check_logs

__all__ = ["CheckedLogs", "check_logs"]
