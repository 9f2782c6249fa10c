"""The rules for Prometheus ask for nothing that `/metrics` does not serve."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import floe
from floe.api.metrics import Metrics
from floe.core.counters import Count, Counters

ROOT = Path(__file__).parents[2]
RULES = ROOT / "packaging" / "prometheus" / "floe.rules.yml"
OF_PROMETHEUS = {"instance", "job", "le"}
"""Labels that are there for every series, or for those of histograms."""
_SELECTOR = re.compile(r"\b(floe_[a-z_]+)(?:\{([^}]*)\})?")
_GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


@pytest.fixture(scope="module")
def served() -> dict[str, set[str]]:
    """Return the names of what may be served, each with its labels: all that any module counts, and what is shown."""
    counters = Counters()
    for module in pkgutil.walk_packages(floe.__path__, "floe."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            for found in vars(importlib.import_module(module.name)).values():
                if isinstance(found, Count):
                    counters.add(found, *found.labels)
    metrics = Metrics(counters)
    metrics.add("compute", 200, 0.1)
    shown = metrics.text({"bus": "ok"}).decode()
    names: dict[str, set[str]] = {}
    for line in shown.splitlines():
        if not line.startswith("#"):
            name, _, labels = line.partition(" ")[0].partition("{")
            names.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    return names


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_is_served_by_its_labels(rule: dict[str, Any], served: dict[str, set[str]]) -> None:
    labels: set[str] = set(OF_PROMETHEUS)
    for name, selected in _SELECTOR.findall(rule["expr"]):
        assert name in served, f"{name} is not served"
        labels |= served[name]
        assert set(re.findall(r"(\w+)\s*[=!]", selected)) <= served[name]
    grouped = {label.strip() for found in _GROUPED.findall(rule["expr"]) for label in found.split(",")}
    assert grouped <= labels
    told = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", told)) <= (grouped or labels)


def test_each_rule_says_how_bad_it_is_and_what_to_do() -> None:
    assert {rule["labels"]["severity"] for rule in rules()} == {"critical", "warning"}
    assert [rule["alert"] for rule in rules() if not {"summary", "description"} <= rule["annotations"].keys()] == []
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 10
