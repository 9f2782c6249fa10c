"""How a bug is planted from outside, for as long as its context lasts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

from floe.cloud.cloud import Cloud
from floe.conductor import conductor, registry
from floe.conductor.flow import Flow
from floe.conductor.saga import Again, Each, Node, OnHost, Saga
from floe.core.actions import Step


@dataclass(frozen=True, slots=True)
class Planted:
    """One bug: a name, what is wrong, and what plants it."""

    name: str
    text: str
    plant: Callable[[], AbstractContextManager[None]]


def altered(change: Callable[[Cloud, Saga], Saga]) -> Callable[[], AbstractContextManager[None]]:
    """Return what gives conductors other plans than theirs."""
    real = registry.sagas

    def sagas(cloud: Cloud, *others: Any) -> Mapping[str, Saga]:
        return {kind: change(cloud, saga) for kind, saga in real(cloud, *others).items()}

    return patched((conductor, "sagas", sagas))


def with_steps(saga: Saga, change: Callable[[Node], Node]) -> Saga:
    """Return a saga with other steps."""

    def changed(node: Node) -> Node:
        inner = replace(node, steps=tuple(map(changed, node.steps))) if isinstance(node, Again | Each) else node
        return change(inner)

    return replace(saga, steps=tuple(map(changed, saga.steps)))


def with_undo(saga: Saga, undo: Callable[[OnHost, Flow, Step], Awaitable[Any]]) -> Saga:
    """Return a saga whose steps are undone otherwise."""

    def changed(node: Node) -> Node:
        if isinstance(node, OnHost) and node.undo is not None:
            return replace(node, undo=partial(undo, node))
        return node

    return with_steps(saga, changed)


def both(*plants: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    """Return what plants several."""

    @contextmanager
    def plant() -> Iterator[None]:
        with ExitStack() as stack:
            for each in plants:
                stack.enter_context(each())
            yield

    return plant


def patched(*changes: tuple[Any, str, Any]) -> Callable[[], AbstractContextManager[None]]:
    """Return what puts values in the places of others: (where, name, value)."""

    @contextmanager
    def plant() -> Iterator[None]:
        patches = [patch.object(where, name, value) for where, name, value in changes]
        for each in patches:
            each.start()
        try:
            yield
        finally:
            for each in patches:
                each.stop()

    return plant
