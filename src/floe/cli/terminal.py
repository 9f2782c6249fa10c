"""What users named, as it may stand on an operator's terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return a text whose characters do nothing to a terminal: what cannot be printed is a question mark."""
    return "".join(char if char.isprintable() else "?" for char in text)
