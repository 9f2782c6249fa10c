"""Which host: a pure function of the request, the table of hosts and a seed."""
