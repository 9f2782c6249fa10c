"""Floe's own API, for operators."""
