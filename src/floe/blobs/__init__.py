"""Image bytes."""
