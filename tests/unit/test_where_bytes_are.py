"""A conductor reaches no bytes of images: it may run on a machine that has none."""

from __future__ import annotations

import ast
from pathlib import Path

from floe.conductor.registry import sagas
from floe.conductor.saga import OnStore

CONDUCTOR = Path(__file__).parents[2] / "src" / "floe" / "conductor"
THOSE_OF_IMAGES = {"upload_image", "delete_image", "image_actions"}
"""What runs in a process that has the bytes."""


def reaches_bytes(module: Path) -> bool:
    """Say whether a module names the store of bytes, or what does something with it."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    named = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    imported = {name.name for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names}
    return bool(named & {"blobs"} or imported & {"image_data", "image_uploads"})


def test_only_workflows_of_images_reach_bytes() -> None:
    assert {path.stem for path in CONDUCTOR.glob("*.py") if reaches_bytes(path)} == THOSE_OF_IMAGES


def test_no_workflow_of_a_conductor_has_a_step_on_the_store() -> None:
    class Settings:
        def __getattr__(self, _name: str) -> float:
            return 1.0

    plans = sagas(None, None, Settings())  # type: ignore[arg-type]
    assert [leaf.name for saga in plans.values() for leaf in saga.leaves() if isinstance(leaf, OnStore)] == []
