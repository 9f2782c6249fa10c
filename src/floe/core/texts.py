"""What a text may be made of."""

from __future__ import annotations

from unicodedata import category


def is_printable(text: str) -> bool:
    """Whether all of a text can be shown: no control characters, and of white space only what keeps to its line.

    `str.isprintable` takes spaces other than the ASCII one, like U+00A0 and U+3000, for not printable.
    """
    return text.isprintable() or all(character.isprintable() or category(character) == "Zs" for character in text)
