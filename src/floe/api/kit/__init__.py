"""What every surface is built from."""
