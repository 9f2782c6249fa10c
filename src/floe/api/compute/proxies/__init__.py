"""What the compute API passed on to other APIs until 2.35: the same functions of the cloud, in Nova's words of then."""
