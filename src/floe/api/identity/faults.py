"""Faults as Keystone writes them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


def identity_envelope(status: int, _reason: str, message: str, _request_id: str) -> Any:
    """Write a fault as Keystone does."""
    return {"error": {"code": status, "message": message, "title": HTTPStatus(status).phrase}}
