"""What runs on a hypervisor host."""
