"""The sandbox: network, mount and UTS namespaces in which the whole data plane of one state directory lives.

    kernel     the few system calls that Python 3.11 does not offer
    furnish    what a new sandbox is made of: private /run, /dev, /sys, loopback, host name
    holder     the process that keeps it alive, and how it is found again
    way_out    how an agent in it reaches the bus and the APIs
    command    `floe sandbox`

The machine's own network is never touched: every bridge, tap and address is made inside. The sandbox outlives
`floe up` and `floe agent`, because guests go on running in it; the next on the same state directory enters it again.
"""

from __future__ import annotations

from floe.cli.sandbox.holder import Sandbox, enter, exec_in, reach, remove, status

__all__ = ["Sandbox", "enter", "exec_in", "reach", "remove", "status"]
