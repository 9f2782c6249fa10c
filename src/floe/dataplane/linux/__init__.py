"""Bridges, taps, DHCP and security groups with the Linux kernel, dnsmasq and nftables."""
