"""Faults of calls for operators, which are written as Keystone does."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


def operator_envelope(status: int, _reason: str, message: str, _request_id: str) -> Any:
    """Write a fault as Keystone does."""
    return {"error": {"code": status, "message": message, "title": HTTPStatus(status).phrase}}
