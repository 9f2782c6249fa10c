"""Runs openstacksdk's functional tests, as they come in its package, one after the other.

    python sdk_tests.py [--only PATTERN] [PATTERN...]      what the patterns name is left out

Needs the Python of .venv-sdk. Writes a line of JSON for each test as it ends: `test`, `outcome` (passed, failed or
skipped) and `why`. The clouds come from the environment, as the tests' own documentation says.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import unittest
from fnmatch import fnmatchcase

import openstack.tests.functional
from openstack.tests.functional.base import BaseFunctionalTest
from openstack.tests.functional.cloud.test_compute import TestCompute
from openstack.tests.functional.compute.v2.base import BaseComputeTest
from told import Told, cases, modules

PREFIX = "openstack.tests.functional."


def compute_without_volumes(test: BaseComputeTest) -> None:
    """Set a test of the compute API up as its own class does, which skips them all where there is no block storage."""
    BaseFunctionalTest.setUp(test)
    test._set_user_cloud(compute_api_version="2")
    test.admin_compute_client = test.operator_cloud.compute
    test.compute_client = test.user_cloud.compute


def clean_up_without_volumes(test: TestCompute, name: str) -> None:
    """Delete a test's server, where its own class first asks for the volumes of it."""
    test.user_cloud.delete_server(name, wait=True)


def main() -> None:
    """Run what is not left out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="*")
    parser.add_argument("left_out", nargs="*")
    args = parser.parse_args()
    sys.argv[1:] = []
    BaseComputeTest.setUp = compute_without_volumes
    TestCompute._cleanup_servers_and_volumes = clean_up_without_volumes
    result = Told(PREFIX)
    for name in modules(openstack.tests.functional):
        if any(fnmatchcase(name + ".", pattern) for pattern in args.left_out):
            continue
        try:
            module = importlib.import_module(PREFIX + name)
        except ImportError as error:
            result.tell(name, "failed", f"it cannot be imported: {error}", 0)
            continue
        for case in cases(unittest.defaultTestLoader.loadTestsFromModule(module)):
            if fnmatchcase(case.id().removeprefix(PREFIX), args.only):
                case.run(result)


main()
