"""The scripted hosts of the functional tests, for tests of other kinds: `KIT` is what their folder's conftest has."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def loaded(path: Path) -> ModuleType:
    """Return a file of tests as a module, the same one for all who ask."""
    name = "_".join(path.with_suffix("").parts[-3:])
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


KIT = loaded(Path(__file__).parent.parent / "functional" / "conductor" / "conftest.py")
