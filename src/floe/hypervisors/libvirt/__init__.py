"""Guests by libvirt."""
