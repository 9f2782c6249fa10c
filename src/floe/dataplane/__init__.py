"""What carries the packets of a host: one driver per package."""
