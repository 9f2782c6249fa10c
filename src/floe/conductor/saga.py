"""What a workflow is: a `Saga`, whose steps are data. What undoes one stands beside it, and what it returns has a type.

The plan of a workflow is read before its code; `performing` does the steps, and tests read the same ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

import msgspec

from floe.conductor.failures import Failure
from floe.conductor.flow import Flow, Work
from floe.core.actions import Begins, Step
from floe.core.errors import FloeError, HostFailure
from floe.core.given import Given
from floe.core.messages import Command, Destroy


def nothing(_flow: Flow, _result: Any) -> None:
    """Do nothing."""


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction. `do` takes from memory what it needs and returns the function that writes."""

    name: str
    do: Callable[[Flow], Work]
    returns: Any = None
    last: bool = False
    after: Callable[[Flow, Any], Awaitable[None] | None] = nothing


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction of what is chosen before it, and chosen anew until the database agrees: `by` does all of it."""

    name: str
    by: Callable[[Flow], Awaitable[Any]]
    returns: Any


class OnHost(msgspec.Struct, frozen=True, kw_only=True):
    """A command to a host, which leaves something there unless `undo` is None: that says what takes it away again.

    To a host that does not know the subject (any more), `anew` says it with all there is to know. Where the host is
    down it `waits` for so many seconds from when the action was asked for, and holds nobody up. `behind` is told of a
    refusal because something later was said.
    """

    name: str
    at: Callable[[Flow], str]
    command: Callable[[Flow], Awaitable[Command]]
    returns: Any
    seconds: float
    undo: Callable[[Flow, Step], Awaitable[Destroy]] | None = None
    after: Callable[[Flow, Any], None] = nothing
    waits: float = 0.0
    anew: Callable[[Flow], Awaitable[Command]] | None = None
    behind: Callable[[Flow, HostFailure], Awaitable[None]] | None = None


class OnStore(msgspec.Struct, frozen=True, kw_only=True):
    """Something done with the bytes of an image, by a process that has them; a repeat must be harmless.

    `undo` takes away what it leaves, unless it is None. Both raise Interrupted to be done again a while later.
    """

    name: str
    do: Callable[[Flow], Awaitable[Any]]
    returns: Any = None
    undo: Callable[[Flow], Awaitable[None]] | None = None


class Remove(msgspec.Struct, frozen=True, kw_only=True):
    """Have a host remove all of the subject, however often it has to be asked; one that is down owes it.

    `shown` is told of trouble, and for how many seconds it has lasted.
    """

    name: str
    at: Callable[[Flow], str]
    command: Callable[[Flow], Destroy]
    shown: Callable[[Flow, FloeError, float], Awaitable[None]]


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """Steps that are undone and done again, from the first, as long as `other` finds another way after a failure."""

    steps: tuple[Node, ...]
    other: Callable[[Flow, str, FloeError], bool]
    """Given the name of the step that failed, and why."""


class Each(msgspec.Struct, frozen=True, kw_only=True):
    """Steps that are done for one thing after the other; each finds its own by the thing's type."""

    over: Callable[[Flow], Sequence[Any]]
    steps: tuple[Node, ...]


Node: TypeAlias = "Write | Choice | OnHost | OnStore | Remove | Again | Each"
Leaf: TypeAlias = "Write | Choice | OnHost | OnStore | Remove"
Undone: TypeAlias = "OnHost | OnStore"


class Saga(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of action: how it begins, its steps, and how it ends.

    `fails` makes what runs in the transaction that ends it after the undos: it gives back what the rows hold. `after`
    follows the commit that ended it, either way. `renamed` gives, for each earlier version whose journals can still be
    finished, the names that steps had and those they have now.
    """

    begins: Begins
    steps: tuple[Node, ...]
    fails: Callable[[Flow, Failure], Work]
    after: Callable[[Flow], Awaitable[None] | None] = lambda _flow: None
    renamed: Mapping[int, Mapping[str, str]] = msgspec.field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Of the actions that it does."""
        return self.begins.kind

    @property
    def given(self) -> type[Given]:
        """Of what type that is which it is given: `flow.given`."""
        return self.begins.given

    def finishes(self, version: int) -> bool:
        """Say whether it can go on with a journal that was written by that version."""
        return version == self.begins.version or version in self.renamed

    def leaves(self) -> Iterator[Leaf]:
        """Return all steps that have a name, in their order."""
        return _leaves(self.steps)

    def undo_of(self, name: str) -> Undone | None:
        """Return the step of that name, if it leaves anything that it takes back."""
        return next((node for node in self.leaves() if node.name == name and _leaves_something(node)), None)

    def leaving(self) -> frozenset[str]:
        """Return the names of the steps that leave something."""
        return frozenset(node.name for node in self.leaves() if _leaves_something(node))


def _leaves_something(node: Leaf) -> TypeGuard[Undone]:
    return isinstance(node, OnHost | OnStore) and node.undo is not None


def _leaves(nodes: Sequence[Node]) -> Iterator[Leaf]:
    for node in nodes:
        if isinstance(node, Again | Each):
            yield from _leaves(node.steps)
        else:
            yield node
