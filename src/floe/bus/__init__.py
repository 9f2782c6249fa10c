"""Commands to hosts and events from them."""
