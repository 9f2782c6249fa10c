"""Faults as Placement writes them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


def placement_envelope(status: int, _reason: str, message: str, request_id: str) -> Any:
    """Write a fault as Placement does."""
    title = HTTPStatus(status).phrase
    return {"errors": [{"status": status, "title": title, "detail": message, "request_id": request_id}]}
