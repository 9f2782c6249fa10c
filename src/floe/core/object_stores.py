"""Where an object store is, as settings name it: `s3://BUCKET/PREFIX?endpoint=URL&region=NAME&style=path`. Pure."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

import msgspec

from floe.core.errors import Invalid

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(?:/[A-Za-z0-9!_.*'()-]+)*")
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_STYLES = ("path", "virtual")
_RIGHT = "it must be like s3://BUCKET/PREFIX?endpoint=https://HOST:PORT"


class S3Address(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a bucket. Without an endpoint it is Amazon's; `path_style` puts the bucket in paths, not in names."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    path_style: bool = False

    @property
    def plain(self) -> bool:
        """Whether what is said to it can be read on its way."""
        return self.endpoint.startswith("http://")


def s3_address(name: str, text: str) -> S3Address:
    """Return what a setting of this name says. Raises Invalid; keys have no place in it."""
    try:
        parts = urlsplit(text)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise Invalid(f"{name} is no URL ({error}): {_RIGHT}.") from None
    if "@" in parts.netloc:
        raise Invalid(f"{name} must hold no keys: they stand in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
    if parts.scheme != "s3" or parts.fragment:
        raise Invalid(f"{name} is {text[:200]!r}: {_RIGHT}, or empty for files in the state directory.")
    asked = dict(pairs)
    known = {"endpoint": _ENDPOINT, "region": _REGION, "style": re.compile("|".join(_STYLES))}
    if len(asked) < len(pairs) or not asked.keys() <= known.keys():
        raise Invalid(f"{name} may say endpoint, region and style (path or virtual), each once (it is {text[:200]!r}).")
    prefix = parts.path.strip("/")
    checks = [("bucket", parts.netloc, _BUCKET), *((key, value, known[key]) for key, value in asked.items())]
    if prefix:
        checks.append(("prefix", prefix, _PREFIX))
    for what, value, pattern in checks:
        if not pattern.fullmatch(value) or value in {".", ".."} or "/../" in f"/{value}/":
            raise Invalid(f"{name}: {value[:200]!r} is no {what} of an object store; {_RIGHT}.")
    endpoint = asked.get("endpoint", "").rstrip("/")
    return S3Address(
        bucket=parts.netloc,
        prefix=prefix,
        endpoint=endpoint,
        region=asked.get("region", "us-east-1"),
        path_style=asked.get("style", "path" if endpoint else "virtual") == "path",
    )
