"""Durable actions: the runner and its workflows."""
