"""Bodies as tables: the fields a call takes, each with its type and the microversions that know it.

A table is compiled once per microversion into a msgspec decoder, which checks everything in one pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, get_args

import msgspec
from msgspec import UNSET, Meta

from floe.api.kit.call import plain_json
from floe.core.errors import Invalid
from floe.core.versions import Version

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^\S(.*\S)?\Z")]
"""1 to 255 characters, no white space at either end."""
LooseName = Annotated[str, Meta(max_length=255)]
Uuid = Annotated[
    str, Meta(pattern=r"^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\Z")
]
Description = Annotated[str, Meta(max_length=255)]
ItemKey = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9\-_:. ]{1,255}\Z")]
Metadata = Annotated[
    dict[
        ItemKey,
        Annotated[str, Meta(max_length=255)],
    ],
    Meta(max_length=1024),
]
"""A key of another kind, like one with a slash, could never be asked for by its path."""


def at_most(kind: Any, most: int = 64) -> Any:
    """Return the type of a list or an object, where nobody in earnest sends more than so many items or keys."""
    return Annotated[kind, Meta(max_length=most)]


def either(constrained: Any, *texts: str) -> Any:
    """Return the type of a text with a pattern that takes some other texts as well.

    In a union msgspec would hold them to the pattern too: of `Uuid | Literal[""]` the literal is lost.
    """
    (found,) = (meta for meta in get_args(constrained)[1:] if isinstance(meta, Meta))
    pattern = (found.pattern or "").removeprefix("^").removesuffix(r"\Z")
    others = "|".join(re.escape(text) for text in texts)
    return Annotated[str, Meta(pattern=rf"^(?:{pattern}|{others})\Z", max_length=found.max_length)]


class Field(msgspec.Struct, frozen=True):
    """One field of a body: its name on the wire, its type (as msgspec reads it), and who must send it when."""

    name: str
    type: Any
    required: bool = False
    since: Version = (0, 0)
    until: Version = (9999, 9999)


class Body:
    """The table of one object in a body, like `server` in `{"server": {...}}`.

    `strict` refuses unknown fields. `siblings` are further top-level fields (`os:scheduler_hints`).
    With `key` None the fields stand at the top level themselves.
    """

    def __init__(
        self, key: str | None, fields: Sequence[Field], *, strict: bool = True, siblings: Sequence[Field] = ()
    ) -> None:
        self.key = key
        self.fields = tuple(fields)
        self.siblings = tuple(siblings)
        self.strict = strict
        self._decoders: dict[Version, msgspec.json.Decoder[Any]] = {}
        self._edges = sorted(
            {f.since for f in (*fields, *siblings)} | {(f.until[0], f.until[1] + 1) for f in (*fields, *siblings)}
        )

    def read(self, data: bytes, version: Version = (0, 0)) -> dict[str, Any]:
        """Return the fields that were sent, by wire name; siblings among them. Raises Invalid.

        Objects come as dicts, arrays as lists, unless a field's type says otherwise.
        """
        decoder = self._decoder(version)
        try:
            top = decoder.decode(data)
        except msgspec.ValidationError as error:
            raise Invalid(_explain(str(error), data)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"The request body is not valid JSON: {error}.") from error
        found: dict[str, Any] = {}
        if self.key is None:
            _collect(top, (*self.fields, *self.siblings), found)
        else:
            _collect(top.value, self.fields, found)
            _collect(top, self.siblings, found)
        return found

    def _decoder(self, version: Version) -> msgspec.json.Decoder[Any]:
        edge = (0, 0)
        for candidate in self._edges:
            if candidate <= version:
                edge = candidate
        if edge not in self._decoders:
            self._decoders[edge] = msgspec.json.Decoder(self._compile(edge))
        return self._decoders[edge]

    def _compile(self, version: Version) -> Any:
        inner = [f for f in self.fields if f.since <= version <= f.until]
        outer = [f for f in self.siblings if f.since <= version <= f.until]
        if self.key is None:
            return _struct("Body", [*inner, *outer], self.strict)
        value = _struct("Value", inner, self.strict)
        slots: list[Any] = [("value", value)]
        rename = {"value": self.key}
        for f in outer:
            slots.append(_slot(f))
            rename[_attribute(f.name)] = f.name
        return msgspec.defstruct("Body", slots, rename=rename, forbid_unknown_fields=self.strict, kw_only=True)


def _struct(name: str, fields: Sequence[Field], strict: bool) -> Any:
    return msgspec.defstruct(
        name,
        [_slot(f) for f in fields],
        rename={_attribute(f.name): f.name for f in fields},
        forbid_unknown_fields=strict,
        kw_only=True,
    )


def _slot(f: Field) -> Any:
    if f.required:
        return (_attribute(f.name), f.type)
    return (_attribute(f.name), f.type | msgspec.UnsetType, UNSET)


def _attribute(name: str) -> str:
    return "f_" + re.sub(r"\W", "_", name)


def _collect(value: Any, fields: Sequence[Field], found: dict[str, Any]) -> None:
    for f in fields:
        got = getattr(value, _attribute(f.name), UNSET)
        if got is not UNSET:
            found[f.name] = got


_PLACE = re.compile(r"^(.*?)(?: - at `(.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def _explain(text: str, data: bytes) -> str:
    """Turn msgspec's sentence into one that names the field and the value that was sent."""
    found = _PLACE.match(text)
    what, place = (found[1], found[2] or "$") if found else (text, "$")
    value: Any = plain_json(data)
    for key, index in _STEP.findall(place):
        if key and isinstance(value, dict) and key in value:
            value = value[key]
        elif index and index != "..." and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        else:
            value = UNSET
            break
    field_name = place.removeprefix("$").lstrip(".") or "the body"
    shown = "" if value is UNSET or isinstance(value, dict) else f" (it is {_short(value)})"
    return f"Invalid input for field/attribute {field_name}: {what}{shown}."


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else text[:77] + "..."
