"""Packets as data: where one goes, what decides it there, and whether its answer finds the way back.

This is a model of the data plane, over the same data that hosts are sent. `tests/contract/dataplane/test_why_not.py`
holds it against real packets; what changes in the rules of `dataplane/linux` changes here.
"""
