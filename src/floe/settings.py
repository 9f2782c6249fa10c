"""What an operator may set: flags, environment variables and a TOML file, in this order of strength.

One table of fields serves all three: the field `fake_hosts` is `--fake-hosts`, `FLOE_FAKE_HOSTS`, and
`fake_hosts = 3` in the file. A key that is not in the table is an error, so that a misspelt one is never ignored.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, get_type_hints

from floe.core.errors import Invalid
from floe.core.hosts import HOST_NAME
from floe.core.image_signatures import trusted_ids
from floe.core.object_stores import S3Address, s3_address

ENV_PREFIX = "FLOE_"
Network = IPv4Network | IPv6Network
FIRST_GUEST_UID = 1_900_000_000
"""Where systemd's table of user ids, which distributions keep to, has nobody."""
GUEST_UIDS = 16_384
"""How many ids guests have, and so the most guests of a host."""
_LAST_UID = 2**32 - 2  # the one after it means "no change" to the kernel
_MAX_DAYS = 36_500
_MAX_DRAIN = 45
"""Seconds, with the requests under way less than the 60 after which systemd kills what it stops."""
_LONGEST = {"history_days": _MAX_DAYS, "usage_days": _MAX_DAYS}
_LONGEST |= dict.fromkeys(("host_wait", "reclaim_instance_interval", "resize_confirm_window"), _MAX_DAYS * 86400)
_LONGEST |= {"drain_seconds": _MAX_DRAIN, "shutdown_timeout": 600}
_CONNECTIONS = (("connections", 1, 65536), ("connections_per_peer", 1, 65536), ("guest_connections", 64, 1 << 24))
ROLES = ("api", "conductor", "agent")
"""In the order in which they start."""
STATUS_PORTS = {"conductor": 8775, "agent": 8776}
"""Where a process that serves no API says how it is."""
_INSTANCE = re.compile(r"[A-Za-z0-9_-]{0,32}")
_SERVER = re.compile(r"(nats|tls)://[^\s/@]+:[0-9]{1,5}")
_API = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?")
_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
EXTERNAL_HOST = "host"
"""What `external` is where this machine itself is the outside."""
_LEAST_PREFIX, _MOST_PREFIX = 8, 29
HYPERVISORS = ("auto", "libvirt", "fake")
CONFIG = Path("/etc/floe.toml")
"""Where the units have their settings from, and where a machine that joins gets them."""


def _setting(default: Any, help_text: str, metavar: str = "") -> Any:
    return field(default=default, metadata={"help": help_text, "metavar": metavar})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a process, with their defaults."""

    state: Path = _setting(Path("/var/lib/floe"), "where all state lives", "DIR")
    database: str = _setting(
        "", "a PostgreSQL: postgresql://user:password@host:5432/name; default: SQLite in the state directory", "URL"
    )
    roles: str = _setting(",".join(ROLES), "roles of this process: `floe up` has all of them", "LIST")
    bus: str = _setting(
        "", "bus of roles in processes of their own: nats://HOST:PORT, several with commas; default: within one", "URLS"
    )
    bus_key: str = _setting(
        "", "file of the key that the bus knows this process by, as `floe bus-key` makes it", "FILE"
    )
    bus_ca: str = _setting(
        "", "file of certificates, one of which has signed the bus server's; default: no TLS", "FILE"
    )
    join_bus: str = _setting("", "bus as machines that join find it, where that is not how this one does", "URLS")
    bus_config: str = _setting(
        "", "file that an API keeps for the bus's server to include: who may connect, hosts as they join", "FILE"
    )
    bus_members: str = _setting(
        "", "list of who may connect besides hosts that joined, as `floe bus-config` takes it", "FILE"
    )
    bus_reload: str = _setting(
        "", "command that has the bus's server read bus_config again, when nothing else does", "COMMAND"
    )
    instance: str = _setting("", "name of this process among those of its role on this machine", "NAME")
    listen: str = _setting("127.0.0.1:8774", "address of the one port that serves every API", "HOST:PORT")
    status_listen: str = _setting(
        "", "address of /healthz and /metrics of a conductor (default: 127.0.0.1:8775) or agent (:8776)", "HOST:PORT"
    )
    connections: int = _setting(2048, "connections at most; fewer where this process may not open as many files", "N")
    connections_per_peer: int = _setting(256, "connections at most from one address (IPv6: network of 64 bits)", "N")
    trusted_proxies: str = _setting(
        "", "proxies, with any number of connections, believed in X-Forwarded-For: 10.0.0.1, fd00::/64", "LIST"
    )
    drain_seconds: float = _setting(
        1.0, "seconds that `floe api` serves on when told to stop, with 503 at /healthz, for proxies to notice", "N"
    )
    public_url: str = _setting("", "where clients reach it, when that is not http://HOST:PORT", "URL")
    region: str = _setting("RegionOne", "name of the region in the catalogue", "NAME")
    hypervisor: str = _setting("auto", "what runs guests: auto, libvirt or fake", "KIND")
    libvirt_uri: str = _setting(
        "", "libvirt connection; default: qemu:///system where a libvirtd runs, else embedded", "URI"
    )
    host: str = _setting("", "name of this hypervisor host; default: the machine's host name", "NAME")
    availability_zone: str = _setting("nova", "availability zone of this host", "NAME")
    fake_hosts: int = _setting(1, "how many hosts the fake hypervisor has", "N")
    fake_delay: float = _setting(0.0, "seconds that a fake guest takes to start", "SECONDS")
    sandbox: bool = _setting(False, "keep bridges, taps, DHCP and guests in namespaces of their own")
    external: str = _setting(
        "", "outside of routers here: a bridge or interface, or `host`: this machine; with --sandbox in there", "DEVICE"
    )
    external_range: str = _setting(
        "172.24.4.0/24",
        "range of the network `public` that the first start makes; its first address is the gateway",
        "CIDR",
    )
    guest_connections: int = _setting(
        16384, "connections that a guest's NIC may have in its host's table (nf_conntrack_max), in steps of 64", "N"
    )
    cpu_ratio: float = _setting(4.0, "virtual CPUs that may be promised per real one", "N")
    memory_ratio: float = _setting(1.0, "memory that may be promised, as a share of the real", "N")
    disk_ratio: float = _setting(1.0, "disk that may be promised, as a share of the real", "N")
    reserved_memory_mib: int = _setting(512, "memory kept for the host itself", "MIB")
    first_guest_uid: int = _setting(
        FIRST_GUEST_UID, f"first of the {GUEST_UIDS} user ids that guests run as, one each, if root runs floe up", "UID"
    )
    shutdown_timeout: float = _setting(
        60.0, "how long a guest may shut down by itself before it is turned off, at most 600", "SECONDS"
    )
    reclaim_instance_interval: float = _setting(0.0, "for how long a deleted server can be restored", "SECONDS")
    resize_confirm_window: float = _setting(
        0.0, "how long a resize waits to be confirmed or reverted before it is confirmed; 0: for ever", "SECONDS"
    )
    host_wait: float = _setting(
        86400.0,
        "how long a start, stop, reboot and the like waits for a host that is down; 0: fails at once",
        "SECONDS",
    )
    shelved_offload_time: float = _setting(0.0, "how long a shelved server keeps its host; -1: for ever", "SECONDS")
    dns_domain: str = _setting("cloud.internal", "domain of guests' names", "NAME")
    mtu: int = _setting(1450, "MTU of new networks", "BYTES")
    token_hours: float = _setting(24.0, "hours until a token expires", "HOURS")
    login_attempts: int = _setting(5, "wrong passwords of a user from an address before more are slowed; 0: never", "N")
    login_delay: float = _setting(30.0, "longest delay between wrong passwords, doubling from 1", "SECONDS")
    max_image_gib: int = _setting(64, "largest image that may be uploaded", "GIB")
    disk_reserve_mib: int = _setting(
        -1, "free disk that images cannot touch, for the database; -1: 1 GiB, or a twentieth of a small disk", "MIB"
    )
    blobs: str = _setting(
        "",
        "where images lie: s3://BUCKET/PREFIX?endpoint=URL&region=NAME; default: files in the state directory",
        "URL",
    )
    images_from: str = _setting(
        "", "APIs that hosts fetch images from, like https://a:8774; default: the image store itself", "URLS"
    )
    image_certificates: str = _setting("", "folder of ID.pem that images are verified by; default: in `state`", "DIR")
    trusted_image_certificates: str = _setting(
        "", "ids of certificates that servers trust which name none: all images have to be signed under one", "LIST"
    )
    image_cache_hours: float = _setting(24.0, "hours that a host keeps a base image which no guest uses", "HOURS")
    history_days: float = _setting(90.0, "days that deleted servers and other history are kept; 0: for ever", "DAYS")
    usage_days: float = _setting(730.0, "days that usage of purged servers is kept; 0: for ever", "DAYS")
    log_level: str = _setting("info", "debug, info, warning or error", "LEVEL")

    def __post_init__(self) -> None:
        self.address()
        self.status_address("api")
        self._check_bus()
        if not _INSTANCE.fullmatch(self.instance):
            raise Invalid(f"instance must be up to 32 letters, digits, _ and - (it is {self.instance!r}).")
        if self.host and not HOST_NAME.fullmatch(self.host):
            raise Invalid(
                f"host must be a name of up to 200 letters, digits, dots, _ and - (it is {self.host[:80]!r})."
            )
        names = self.role_names()
        if not names or len(set(names)) < len(names) or not set(names) <= set(ROLES):
            raise Invalid(f"roles must be some of {', '.join(ROLES)}, each once (they are {self.roles!r}).")
        if self.database and not re.fullmatch(r"postgres(ql)?://\S*/\S+", self.database):
            raise Invalid("database must be like postgresql://user:password@host:5432/name, or empty for SQLite.")
        if self.hypervisor not in HYPERVISORS:
            raise Invalid(f"hypervisor must be one of {', '.join(HYPERVISORS)} (it is {self.hypervisor!r}).")
        if not 1 <= self.fake_hosts <= 10_000:
            raise Invalid(f"fake_hosts must be between 1 and 10000 (it is {self.fake_hosts}).")
        if self.log_level not in {"debug", "info", "warning", "error"}:
            raise Invalid(f"log_level must be debug, info, warning or error (it is {self.log_level!r}).")
        for name in ("cpu_ratio", "memory_ratio", "disk_ratio", "token_hours"):
            if getattr(self, name) <= 0:
                raise Invalid(f"{name} must be more than 0 (it is {getattr(self, name):g}).")
        for name, least, most in _CONNECTIONS:
            if not least <= getattr(self, name) <= most:
                raise Invalid(f"{name} must be between {least} and {most} (it is {getattr(self, name)}).")
        self.proxies()
        self.image_urls()
        self.trusted_ids()
        self.object_store()
        if self.disk_reserve_mib < -1 or self.image_cache_hours < 0:
            raise Invalid(
                f"disk_reserve_mib must be -1 or more (it is {self.disk_reserve_mib}), image_cache_hours 0 or more "
                f"(it is {self.image_cache_hours:g})."
            )
        if not 10_000 <= self.first_guest_uid <= _LAST_UID - GUEST_UIDS:
            raise Invalid(
                f"first_guest_uid must be between 10000 and {_LAST_UID - GUEST_UIDS} (it is {self.first_guest_uid}):"
                f" it and the {GUEST_UIDS - 1} ids after it must be nobody else's."
            )
        if self.login_attempts < 0 or not 1 <= self.login_delay <= 3600:
            raise Invalid(
                "login_attempts must be 0 or more, login_delay between 1 and 3600 "
                f"(they are {self.login_attempts} and {self.login_delay:g})."
            )
        for name, most in _LONGEST.items():
            if not 0 <= getattr(self, name) <= most:
                raise Invalid(f"{name} must be between 0 and {most} (it is {getattr(self, name):g}).")
        if 0 < self.usage_days < self.history_days:
            they = f"{self.usage_days:g} and {self.history_days:g}"
            raise Invalid(f"usage_days must be 0, or at least history_days (they are {they}).")
        self._check_external()
        if self.fake_delay < 0 or self.reserved_memory_mib < 0 or not 576 <= self.mtu <= 9000:
            raise Invalid("fake_delay and reserved_memory_mib must be 0 or more, mtu between 576 and 9000.")

    def role_names(self) -> list[str]:
        """Return the names in `roles`."""
        return self.roles.replace(",", " ").split()

    def proxies(self) -> tuple[Network, ...]:
        """Return the networks of `trusted_proxies`, each an address or several."""
        found = []
        for word in self.trusted_proxies.replace(",", " ").split():
            try:
                found.append(ip_network(word))
            except ValueError as error:
                raise Invalid(f"trusted_proxies must be addresses or networks like 10.0.0.0/8: {error}.") from None
        return tuple(found)

    def object_store(self) -> S3Address | None:
        """Return where `blobs` says that images lie, None for files in the state directory."""
        return s3_address("blobs", self.blobs) if self.blobs else None

    def image_urls(self) -> tuple[str, ...]:
        """Return the URLs of `images_from`, none where hosts see the image store."""
        urls = tuple(self.images_from.replace(",", " ").split())
        for url in urls:
            if not _API.fullmatch(url):
                raise Invalid(
                    "images_from must be URLs of APIs, like https://10.0.0.1:8774, several with commas, without user, "
                    f"query or fragment (it has {url[:200]!r})."
                )
        return urls

    def trusted_ids(self) -> tuple[str, ...]:
        """Return the ids of `trusted_image_certificates`."""
        return trusted_ids(self.trusted_image_certificates.replace(",", " ").split()) or ()

    def guest_uids(self) -> range:
        """Return the user ids that guests run as."""
        return range(self.first_guest_uid, self.first_guest_uid + GUEST_UIDS)

    def bus_servers(self) -> tuple[str, ...]:
        """Return the servers of `bus`, none where it is within a process."""
        return _servers("bus", self.bus)

    def reload_command(self) -> tuple[str, ...]:
        """Return the words of `bus_reload`."""
        try:
            return tuple(shlex.split(self.bus_reload))
        except ValueError as error:
            raise Invalid(f"bus_reload must be a command and its words (it is {self.bus_reload!r}: {error}).") from None

    def _check_bus(self) -> None:
        self.bus_servers()
        _servers("join_bus", self.join_bus)
        if self.bus_config and not self.bus_members:
            raise Invalid(
                "bus_config needs bus_members: without a list of the control plane's keys the bus would let in hosts "
                "alone. `floe bus-key` makes keys; each line of the list is `KEY control NAME`."
            )
        if self.reload_command() and not self.bus_config:
            raise Invalid("bus_reload is what follows a change of bus_config, which is not set: leave it out, or both.")

    def outside(self) -> IPv4Network:
        """Return the range of the first external network."""
        try:
            found = IPv4Network(self.external_range)
        except ValueError as error:
            raise Invalid(f"external_range must be an IPv4 network like 172.24.4.0/24: {error}.") from None
        if not _LEAST_PREFIX <= found.prefixlen <= _MOST_PREFIX or (not found.is_private and not found.is_global):
            raise Invalid(
                f"external_range must be a range of addresses that guests can have, from /{_LEAST_PREFIX} to"
                f" /{_MOST_PREFIX} (it is {found})."
            )
        return found

    def outside_gateway(self) -> str:
        """Return the first address there, with the length of the prefix."""
        found = self.outside()
        return f"{found[1]}/{found.prefixlen}"

    def _check_external(self) -> None:
        self.outside()
        if self.external and not _DEVICE.fullmatch(self.external):
            raise Invalid(
                f"external must be a bridge or interface, or {EXTERNAL_HOST!r} (it is {self.external[:80]!r})."
            )
        if self.external and self.sandbox:
            raise Invalid("external is for a cloud without --sandbox, in which the outside is within the sandbox.")

    def address(self) -> tuple[str, int]:
        """Return the host and port to listen on. Port 0 means any that is free."""
        return _address("listen", self.listen)

    def status_address(self, role: str) -> tuple[str, int]:
        """Return the host and port at which a process of one role says how it is."""
        default = f"127.0.0.1:{STATUS_PORTS.get(role, 0)}"
        return _address("status_listen", self.status_listen or default)


def _servers(name: str, text: str) -> tuple[str, ...]:
    servers = tuple(text.replace(",", " ").split())
    for server in servers:
        if not _SERVER.fullmatch(server):
            raise Invalid(f"{name} must be servers like nats://10.0.0.1:4222, several with commas (it has {server!r}).")
    return servers


def _address(name: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise Invalid(f"{name} must be HOST:PORT, like 127.0.0.1:8774 (it is {text!r}).")
    return host, int(port)


_TYPES = get_type_hints(Settings)
NAMES = tuple(f.name for f in fields(Settings))


def load(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Return the settings: flags over environment over file over defaults.

    `flags` holds only what was given. Raises Invalid, naming the source, for an unknown key or a wrong value.
    """
    values: dict[str, Any] = {}
    if file is None and environment.get(ENV_PREFIX + "CONFIG"):
        file = Path(environment[ENV_PREFIX + "CONFIG"])
    if file is not None:
        values.update(_from_file(file))
    for key, text in environment.items():
        if key.startswith(ENV_PREFIX) and key != ENV_PREFIX + "CONFIG":
            source = f"environment variable {key}"
            name = _known(key.removeprefix(ENV_PREFIX).lower(), source)
            values[name] = _parse(name, text, source)
    for name, value in flags.items():
        source = "--" + name.replace("_", "-")
        values[name] = _parse(name, value, source) if isinstance(value, str) else value
    return Settings(**values)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text())
    except OSError as error:
        raise Invalid(f"The configuration file {file} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"The configuration file {file} is not valid TOML: {error}.") from error
    return {_known(name, str(file)): _convert(name, value, str(file)) for name, value in table.items()}


def _known(name: str, source: str) -> str:
    if name not in NAMES:
        raise Invalid(f"{source}: there is no setting {name!r}; known are: {', '.join(NAMES)}.")
    return name


def _convert(name: str, value: Any, source: str) -> Any:
    kind = _TYPES[name]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not kind:
        raise Invalid(f"{source}: {name} must be {_WORDS[kind]} (it is {value!r}).")
    return value


def _parse(name: str, text: str, source: str) -> Any:
    kind = _TYPES[name]
    if kind is bool:
        if text.lower() not in _TRUTHS:
            raise Invalid(f"{source}: {name} must be true or false (it is {text!r}).")
        return _TRUTHS[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise Invalid(f"{source}: {name} must be {_WORDS[kind]} (it is {text!r}).") from error


_TRUTHS = {**dict.fromkeys(("1", "true", "yes", "on"), True), **dict.fromkeys(("0", "false", "no", "off"), False)}
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}
