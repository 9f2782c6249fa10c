"""What a text may be made of, and how long one may be that is kept."""

from __future__ import annotations

from unicodedata import category


def is_printable(text: str) -> bool:
    """Whether all of a text can be shown: no control characters, and of white space only what keeps to its line.

    `str.isprintable` takes spaces other than the ASCII one, like U+00A0 and U+3000, for not printable.
    """
    return text.isprintable() or all(character.isprintable() or category(character) == "Zs" for character in text)


def shortened(text: str, most: int) -> str:
    """Return at most so many characters of a text; one that is cut says so, and keeps its beginning and its end."""
    if len(text) <= most:
        return text
    mark = f" [... {len(text) - most} characters more ...] "
    kept = max(0, most - len(mark))
    return text[: kept - kept // 3] + mark + text[len(text) - kept // 3 :]
