"""A route table compiled into a trie of path segments: the cost of a match is the length of the path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from floe.api.kit.call import Route

__all__ = ["Match", "Route", "RouteTable"]


@dataclass(slots=True)
class _Node:
    fixed: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    routes: dict[str, list[Route]] = field(default_factory=dict)
    names: tuple[str, ...] = ()


class Match(NamedTuple):
    """The routes at a path by method, and the values of the path's variables."""

    routes: dict[str, list[Route]]
    params: dict[str, str]


class RouteTable:
    """Finds the routes of a path. A fixed segment wins over a variable one, and none is empty.

    A slash at the end is one segment too many, but after a version (`/v2.1/`), or everywhere with `trailing_slash`.
    A `suffix` at the end of any path is no part of it.
    """

    def __init__(self, routes: Iterable[Route], *, trailing_slash: bool = False, suffix: str = "") -> None:
        self._trailing_slash = trailing_slash
        self._suffix = suffix
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def match(self, path: str) -> Match | None:
        """Return what stands at `path`, or None."""
        segments = path.removesuffix(self._suffix).removeprefix("/").split("/")
        if not segments[-1] and (len(segments) <= 2 or self._trailing_slash):
            segments.pop()
        if "" in segments:
            return None
        values: list[str] = []
        node = _walk(self._root, segments, 0, values)
        if node is None:
            return None
        return Match(node.routes, dict(zip(node.names, values, strict=True)))

    def _add(self, route: Route) -> None:
        node, names = self._root, []
        for segment in route.path.split("/"):
            if not segment:
                continue
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.fixed.setdefault(segment, _Node())
        if node.names and node.names != tuple(names):
            raise ValueError(f"{route.path} names its variables unlike another route at the same place")
        node.names = tuple(names)
        node.routes.setdefault(route.method, []).append(route)


def _walk(node: _Node, segments: list[str], at: int, values: list[str]) -> _Node | None:
    if at == len(segments):
        return node if node.routes else None
    fixed = node.fixed.get(segments[at])
    if fixed is not None:
        kept = len(values)
        found = _walk(fixed, segments, at + 1, values)
        if found is not None:
            return found
        del values[kept:]
    if node.variable is not None:
        values.append(segments[at])
        found = _walk(node.variable, segments, at + 1, values)
        if found is not None:
            return found
        values.pop()
    return None
