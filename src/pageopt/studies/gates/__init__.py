"""The quality gate before candidates whose true worth is known: what it promotes, log after log."""
