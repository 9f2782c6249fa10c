"""Floe: a whole small cloud that serves the OpenStack APIs and boots real guests through libvirt."""
