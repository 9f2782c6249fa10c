"""Regular expressions of users, written as the linear-time engine (RE2) takes them.

The reference is what Nova takes: its API checks a filter with Python's `re`, its database searches with it. What means
the same to RE2 is passed on or rewritten, anything else is refused: never is a filter read as something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import msgspec

from floe.core.errors import Invalid

MOST = 255
"""Characters of a regular expression at most."""

_SPECIAL = frozenset("\\^$.|?*+()[]{}")
_QUANTIFIER = re.compile(r"[*+?]|\{(\d*)(,?)(\d*)\}", re.ASCII)
_GROUP = re.compile(r"\((?:\?:|\?P<[A-Za-z_]\w*>|\?[ims]*(?:-[ims]+)?:|(?!\?))", re.ASCII)
_FLAGS = re.compile(r"\(\?[ims]+\)")
_COMMENT = re.compile(r"\(\?#[^)]*\)")
_CODE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(0[0-7]{0,2}|[1-3][0-7]{2}))")
_PROPERTY = re.compile(r"\\[pP](?:[A-Z]|\{\^?[A-Za-z_]+\})")
_OPTIONAL = re.compile(r"[*?]|\{0*,")
_WHOLE_NUMBERS = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})(?:\.|$)){1,4}", re.ASCII)
_POSIX = re.compile(r"\[:(\^?)([a-z]+):\]")
_WORD_EDGES = ("[[:<:]]", "[[:>:]]")
"""How MySQL wrote the edges of a word before it had `\\b`."""

_WORD, _DIGIT, _SPACE = r"\pL\pM\pN\p{Pc}", r"\p{Nd}", r"\t-\r\x1c-\x1f\x85\pZ"
_NO_WORD = r"\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Po}\pS\pZ\pC"
_INSIDE = {"w": _WORD, "d": _DIGIT, "s": _SPACE, "W": _NO_WORD, "D": r"\P{Nd}", "b": r"\x08"}
_OUTSIDE = {
    "w": f"[{_WORD}]",
    "W": f"[^{_WORD}]",
    "d": _DIGIT,
    "D": r"\P{Nd}",
    "s": f"[{_SPACE}]",
    "S": f"[^{_SPACE}]",
    "b": r"\b",
    "B": r"\B",
    "A": r"\A",
    "Z": r"\z",
    "z": r"\z",
}
"""Perl's classes, which to RE2 are of ASCII alone."""
_EDGES = frozenset("bBAZz")
_CONTROLS = {"t": r"\t", "n": r"\n", "r": r"\r", "f": r"\f", "v": r"\v", "a": r"\x07"}
_NAMED = {
    "alpha": r"\pL",
    "digit": _DIGIT,
    "alnum": r"\pL\p{Nd}",
    "upper": r"\p{Lu}",
    "lower": r"\p{Ll}",
    "space": _SPACE,
    "punct": r"[:punct:]\pP",
    "blank": "[:blank:]",
    "cntrl": "[:cntrl:]",
    "xdigit": "[:xdigit:]",
    "word": _WORD,
}


class Plain(msgspec.Struct, frozen=True):
    """A regular expression that is no more than a text, perhaps bound to the start or the end."""

    text: str
    start: bool
    end: bool


def plain(pattern: str) -> Plain | None:
    """Return the text that a regular expression searches for, None if it is more than a text of printable ASCII."""
    body = pattern.removeprefix("^")
    end = body.endswith("$") and (len(body) - len(body[:-1].rstrip("\\"))) % 2 == 1
    if end:
        body = body[:-1]
    found, at = "", 0
    while at < len(body):
        character = body[at]
        if character == "\\":
            at += 1
            character = body[at : at + 1]
            if not character or character.isalnum():
                return None
        elif character in _SPECIAL:
            return None
        if not " " <= character <= "~":
            return None
        found += character
        at += 1
    return Plain(found, pattern.startswith("^"), end)


def address_range(pattern: str) -> tuple[int, int] | None:
    r"""Return the first and the last address that fit `^10\.0\.` or `^10\.0\.0\.5$`, None for anything else."""
    found = plain(pattern)
    if found is None or not found.start or _WHOLE_NUMBERS.fullmatch(found.text) is None:
        return None
    parts = found.text.rstrip(".").split(".")
    if found.end != (len(parts) == 4) or found.text.endswith(".") == found.end or any(int(p) > 255 for p in parts):
        return None
    first, last = parts + ["0"] * (4 - len(parts)), parts + ["255"] * (4 - len(parts))
    return int(IPv4Address(".".join(first))), int(IPv4Address(".".join(last)))


def translated(pattern: str, name: str) -> str:
    """Return a regular expression in RE2's language. Raises Invalid, naming the filter, for what that cannot say."""
    if not pattern:
        raise Invalid(f"Filter {name} is empty: it takes a regular expression.")
    if len(pattern) > MOST:
        raise Invalid(f"Filter {name} has {len(pattern)} characters; a regular expression has at most {MOST}.")
    return _Reader(pattern, name).read()


def refusal(pattern: str, name: str, why: str) -> Invalid:
    """Return the error that says why a regular expression is not taken."""
    return Invalid(
        f"Filter {name}={pattern[:80]!r} is not taken: {why}. It is a regular expression; escape a character with a "
        "backslash to mean the character itself."
    )


@dataclass(slots=True)
class _Reader:
    text: str
    name: str
    at: int = 0
    depth: int = 0
    single: str | None = None
    """What was read last: a character that means itself, "" for anything else that takes one character, else None."""
    found: list[str] = field(default_factory=list)

    def read(self) -> str:
        while self.at < len(self.text):
            self._next()
        return "".join(self.found)

    def _next(self) -> None:
        character = self.text[self.at]
        before, self.single = self.single, None
        quantifier = _QUANTIFIER.match(self.text, self.at)
        if quantifier is not None and quantifier[0] != "{}":
            self._repeat(quantifier, before)
        elif character == "\\":
            self._escape()
        elif character == "[":
            self._class()
        elif character == "(":
            self._group()
        else:
            if character == ")":
                self.depth -= 1
            elif character == ".":
                self.single = ""
            elif character not in _SPECIAL:
                self.single = character
            self._take(character, 1)

    def _take(self, written: str, length: int) -> None:
        self.found.append(written)
        self.at += length

    def _repeat(self, quantifier: re.Match[str], before: str | None) -> None:
        written = quantifier[0]
        if quantifier[2] and not quantifier[1]:
            written = "{0," + quantifier[3] + "}"
        self._take(written, len(quantifier[0]))
        if self.text.startswith("?", self.at):
            self._take("?", 1)
        elif self.text.startswith("+", self.at):
            self.at += 1
            if not self._gives_nothing_back(before):
                raise self._refused(f"the possessive quantifier {quantifier[0]}+ means more here than {quantifier[0]}")

    def _gives_nothing_back(self, repeated: str | None) -> bool:
        """Say whether a possessive repetition is as good as a greedy one: what follows cannot match what it took."""
        rest = self.text[self.at :]
        if not rest or (rest.startswith("|") and self.depth == 0):
            return True
        if rest == "$":
            return repeated is not None
        if not repeated:
            return False
        following, length = rest[0], 1
        if following == "\\" and rest[1:2] and not rest[1].isalnum():
            following, length = rest[1], 2
        elif following in _SPECIAL:
            return False
        return following.casefold() != repeated.casefold() and _OPTIONAL.match(rest, length) is None

    def _escape(self) -> None:
        code = _CODE.match(self.text, self.at)
        proper = _PROPERTY.match(self.text, self.at)
        character = self.text[self.at + 1 : self.at + 2]
        self.single = None if character in _EDGES else ""
        if code is not None:
            self._take(self._point(code), len(code[0]))
        elif proper is not None:
            self._take(proper[0], len(proper[0]))
        elif character in _OUTSIDE:
            self._take(_OUTSIDE[character], 2)
        elif character in _CONTROLS:
            self._take(_CONTROLS[character], 2)
        else:
            self._itself(character)
            self.single = character

    def _itself(self, character: str) -> None:
        """Take an escaped character that means itself."""
        if not character:
            raise self._refused("it ends with a backslash")
        if character.isascii() and character.isalnum():
            what = "back-references are" if character.isdigit() else f"\\{character} is"
            raise self._refused(f"{what} not known here")
        self._take("\\" + character if character.isascii() else character, 2)

    def _point(self, code: re.Match[str]) -> str:
        number = int(code[4], 8) if code[4] else int(code[1] or code[2] or code[3], 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise self._refused(f"{code[0]} is no character")
        return f"\\x{{{number:x}}}"

    def _group(self) -> None:
        for known, opens in ((_COMMENT, 0), (_FLAGS, 0), (_GROUP, 1)):
            match = known.match(self.text, self.at)
            if match is not None:
                self.depth += opens
                self._take("" if known is _COMMENT else match[0], len(match[0]))
                return
        raise self._refused(f"a group that begins with {self.text[self.at : self.at + 4]!r} is not known here")

    def _class(self) -> None:
        for edge in _WORD_EDGES:
            if self.text.startswith(edge, self.at):
                self._take(r"\b", len(edge))
                return
        start = "[^" if self.text.startswith("[^", self.at) else "["
        self._take(start, len(start))
        first = True
        while first or not self.text.startswith("]", self.at):
            self._member(first=first)
            first = False
        self._take("]", 1)
        self.single = ""

    def _member(self, *, first: bool) -> None:
        character = self.text[self.at : self.at + 1]
        code, named = _CODE.match(self.text, self.at), _POSIX.match(self.text, self.at)
        proper = _PROPERTY.match(self.text, self.at)
        if not character:
            raise self._refused("a class begins with [ and does not end")
        if self.text.startswith(("[.", "[="), self.at) or (named is not None and named[2] not in _NAMED):
            raise self._refused("of classes within a class only those like [:alpha:] are known here")
        if code is not None:
            self._take(self._point(code), len(code[0]))
        elif proper is not None:
            self._take(proper[0], len(proper[0]))
        elif named is not None:
            # What is not of a class is said by RE2's own one: a class within a class cannot be turned around.
            self._take(named[0] if named[1] else _NAMED[named[2]], len(named[0]))
        elif character == "\\":
            self._escaped_member(self.text[self.at + 1 : self.at + 2])
        else:
            # Python reads a [ within a class as itself, and so does a ] that stands first.
            self._take("\\" + character if character == "[" or (first and character == "]") else character, 1)

    def _escaped_member(self, character: str) -> None:
        if character == "S":
            raise self._refused(r"\S within a class is not known here; write [^\s] instead")
        known = _INSIDE.get(character) or _CONTROLS.get(character)
        if known is not None:
            self._take(known, 2)
        else:
            self._itself(character)

    def _refused(self, why: str) -> Invalid:
        return refusal(self.text, self.name, why)
