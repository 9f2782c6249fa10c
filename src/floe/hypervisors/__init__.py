"""What runs guests: one driver per package."""
