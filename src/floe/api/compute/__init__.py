"""Compute v2.1 (Nova)."""
