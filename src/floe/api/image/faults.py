"""Faults as Glance writes them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


def image_envelope(status: int, _reason: str, message: str, _request_id: str) -> Any:
    """Write a fault as Glance does when it is asked for JSON."""
    return {
        "code": f"{status} {HTTPStatus(status).phrase}",
        "title": HTTPStatus(status).phrase,
        "message": message,
    }
