"""Titles to tokens."""

import re

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower-case word tokens of a title, in order: "USB-C Cable, 2 m" gives usb, c, cable, 2, m."""
    return _WORD.findall(text.lower())
