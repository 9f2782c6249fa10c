"""Whom the host's DHCP servers run as, and where their files lie: guests speak to them, so they are never root.

The state directory is closed to all but its owner, so the files are below `/run/floe`. A reboot clears that, and takes
the servers along; both are made again from what should be on the host.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from pathlib import Path

import msgspec

from floe.dataplane.linux.run import ports_failure

RUNTIME = Path("/run/floe")

_NAMES = ("dnsmasq", "nobody")
"""The account that Debian's dnsmasq-base makes, or one that may do nothing."""
_CAPABILITIES = ("setuid", "setgid", "setpcap", "chown", "net_admin", "net_raw", "net_bind_service")
"""What dnsmasq needs until it has become somebody else, and, of the network, after that (it drops what it can)."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account without privileges, and its group."""

    name: str
    group: str
    gid: int


def find() -> Account:
    """Return the account for DHCP servers; raises `HostFailure` with the remedy rather than have them run as root."""
    for name in _NAMES:
        try:
            found = pwd.getpwnam(name)
            group = grp.getgrgid(found.pw_gid)
        except KeyError:
            continue
        if found.pw_uid and found.pw_gid:
            return Account(name=name, group=group.gr_name, gid=found.pw_gid)
    raise ports_failure(
        f"DHCP servers never run as root, and this host has no account for them ({' or '.join(_NAMES)}): "
        "apt-get install --reinstall dnsmasq-base, or useradd --system --gid nogroup dnsmasq.",
        "no account of these names has a user and a group other than root's",
    )


def confined(argv: list[str]) -> list[str]:
    """Return the command that starts `argv` with no more of root than becoming somebody else takes, for good."""
    bounds = ",".join(["-all", *(f"+{name}" for name in _CAPABILITIES)])
    return ["setpriv", "--no-new-privs", f"--bounding-set={bounds}", *argv]


def folder(state_dir: Path) -> Path:
    """Return where the DHCP files of a host's state directory are: another place for each, however it is spelt."""
    key = hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:16]
    return RUNTIME / key / "dhcp"


def furnish(place: Path, account: Account) -> None:
    """Make the folder of DHCP files: root writes there, and the account alone can read.

    Raises `HostFailure` where somebody else could write there, too: what root writes must go where it is meant to.
    """
    own = place.parent
    try:
        for each, mode in ((own.parent, 0o755), (own, 0o750), (place, 0o755)):
            each.mkdir(mode=mode, exist_ok=True)
            found = each.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise ports_failure(
                    f"{each} is not a directory that root alone can write to; DHCP files are not put there: "
                    f"remove it, and floe up makes it anew.",
                    stat.filemode(found.st_mode),
                )
            each.chmod(mode)  # whatever the umask made of it
        os.chown(own, -1, account.gid)
    except OSError as error:
        raise ports_failure(
            f"The folder {place} of DHCP files cannot be made: {error.strerror}.", str(error)
        ) from error
