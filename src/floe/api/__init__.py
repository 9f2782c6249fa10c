"""The OpenStack surfaces."""
