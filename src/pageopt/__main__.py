"""`python -m pageopt` is the command line `pageopt`."""

from pageopt.cli import app

app()
