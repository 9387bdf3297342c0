"""The five gates; each module has one function that returns a verdict."""
