"""Placement 1.x, the read side."""
