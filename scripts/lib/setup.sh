# Shared set-up, sourced by the scripts. Bash.
#
#   setup_packages [MORE...]   what Floe needs of the distribution (apt, as root), and more
#   setup_python EXTRAS        Floe in .venv, as pinned in constraints.txt
#   setup_client               the openstack client, unchanged, in .venv-client
#   setup_ansible              Ansible with the collection openstack.cloud, in .venv-ansible
#   setup_sdk                  openstacksdk with its tests, and the libraries from before it, in .venv-sdk
#   setup_osc                  python-openstackclient with what its own tests need, in .venv-osc
#   setup_tempest              Tempest with its tests, in .venv-tempest
#   setup_image                the tiny guest image; its path goes to $GUEST_IMAGE
#   setup_debian_image         the Debian guest image, as root; its path goes to $DEBIAN_IMAGE
#   setup_libvirt_system       the files of Debian's libvirt-daemon-system, for tests; their path goes to $LIBVIRT_SYSTEM
#   setup_ds_identify          cloud-init's ds-identify, for tests in guests; its path goes to $DS_IDENTIFY
#
# Each says what it is about to do, does it once, and is quick when there is nothing to do.

# shellcheck shell=bash
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PATH="$PATH:/usr/sbin:/sbin"
SELF=${0##*/}

PACKAGES=(
    # run guests
    qemu-system-x86 qemu-utils ovmf libvirt-daemon libvirt-daemon-driver-qemu dnsmasq-base nftables iproute2
    openssh-client util-linux mount kmod
    # Python, and what its binding of libvirt is built with
    python3 python3-venv python3-dev gcc libc6-dev pkg-config libvirt-dev
    # build the guest image
    binutils cpio dosfstools e2fsprogs fakeroot fdisk gzip mtools xz-utils zstd
)
# The server of the bus between machines, a second database, and what puts several APIs under one address.
CLUSTER_PACKAGES=(nats-server postgresql haproxy)
# What only tests use: virsh and its /etc/libvirt, a DHCP client in namespaces, systemd-analyze (most machines have it, and
# it need not run them). One that is there of `a|b` will do.
TEST_PACKAGES=(git libvirt-clients 'busybox|busybox-static' systemd "${CLUSTER_PACKAGES[@]}")
# What only others' test suites call.
TEMPEST_PACKAGES=(iputils-ping)

say() { printf '%s: %s\n' "$SELF" "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

can_be_root() { [ "$(id -u)" = 0 ] || command -v sudo > /dev/null; }

# watched LABEL COMMAND...: run it with its output in a log; show a clock and the log's last line meanwhile, and the
# end of the log if it fails.
watched() {
    local label=$1 log status=0 pid start=$SECONDS tail shown=0
    shift
    log=$(mktemp)
    "$@" > "$log" 2>&1 < /dev/null &
    pid=$!
    trap 'kill "$pid" 2> /dev/null; rm -f "$log"; exit 130' INT TERM
    while kill -0 "$pid" 2> /dev/null; do
        if [ -t 2 ]; then
            tail=$(tail -n 1 "$log" | tr -d '\r\033' | cut -c1-60)
            printf '\r\033[K  %s  %ds  %s' "$label" $((SECONDS - start)) "$tail" >&2
        elif [ $((SECONDS - start)) -ge $((shown + 10)) ]; then
            shown=$((SECONDS - start))
            say "$label ... ${shown}s"
        fi
        sleep 0.2
    done
    wait "$pid" || status=$?
    trap - INT TERM
    [ ! -t 2 ] || printf '\r\033[K' >&2
    if [ $status != 0 ]; then
        tail -n 15 "$log" | sed 's/^/    /' >&2
        rm -f "$log"
        die "$label failed (exit status $status)"
    fi
    rm -f "$log"
    say "$label: done in $((SECONDS - start))s"
}

# Of each PACKAGE or PACKAGE|PACKAGE: its first if none is installed.
missing_packages() {
    local installed wanted
    # dpkg-query fails for packages it has never heard of, and tells of the others all the same.
    # shellcheck disable=SC2086
    installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' ${*//|/ } 2> /dev/null | sed -n 's/^ii *//p') || true
    for wanted in "$@"; do
        grep -qxF "${wanted//|/$'\n'}" <<< "$installed" || echo "${wanted%%|*}"
    done
}

setup_packages() {
    local wanted=("${PACKAGES[@]}" "$@")
    if [ -x /usr/bin/python3 ] && [ -z "$(find_python)" ]; then
        # The distribution's default is too old (Ubuntu 22.04): take the newer one it also has.
        wanted+=(python3.11 python3.11-venv python3.11-dev)
    fi
    install_packages "${wanted[@]}"
}

install_packages() {
    local missing
    if ! command -v apt-get > /dev/null || ! command -v dpkg-query > /dev/null; then
        die "this machine has no apt; Floe's scripts know Debian 12 and Ubuntu. By hand it needs: $*"
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    can_be_root || die "this needs root, or by hand: apt-get install ${missing[*]}"
    say "about to install with apt: ${missing[*]}"
    [ "$(id -u)" = 0 ] || sudo -v || die "this needs root, or by hand: apt-get install ${missing[*]}"
    watched "apt-get update" as_root apt-get update
    case " ${missing[*]} " in
        *" postgresql "*)
            # Tests start servers of their own. Without this the package would start one that nobody asked for.
            watched "apt-get install" apt_install postgresql-common
            as_root sed -i 's/^#\? *create_main_cluster.*/create_main_cluster = false/' \
                /etc/postgresql-common/createcluster.conf
            ;;
    esac
    local package loud=() quiet=()
    for package in "${missing[@]}"; do
        case $package in nats-server | haproxy) quiet+=("$package") ;; *) loud+=("$package") ;; esac
    done
    [ ${#loud[@]} = 0 ] || watched "apt-get install" apt_install "${loud[@]}"
    [ ${#quiet[@]} = 0 ] || watched "apt-get install" install_without_service "${quiet[@]}"
}

apt_install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }

# Without the service of that name, which nobody asked for: not started now, nor at the next boot.
install_without_service() {
    local policy=/usr/sbin/policy-rc.d status=0 ours=
    if [ ! -e $policy ]; then
        ours=1
        as_root sh -c "printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy"
    fi
    apt_install "$@" || status=$?
    [ -z "$ours" ] || as_root rm -f $policy
    [ $status = 0 ] || return $status
    ! command -v systemctl > /dev/null || as_root systemctl disable "${@/%/.service}"
}

# A line for each of apt's sources of the distribution: its URI, its suite and its file, the one to bootstrap from first.
distribution_sources() {
    # The origin is what tells the distribution from others that name their suites alike.
    apt-get indextargets 'Created-By: Packages' \
        --format '$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)|$(SOURCESENTRY)|$(ORIGIN)' |
        awk -F '|' -v name="$1" '
            $3 != "main" || $6 !~ /^(Debian|Ubuntu)$/ { next }
            $1 == name || $2 == name { first = first $4 " " $1 " " $5 "\n"; next }
            index($1, name) == 1 || index($2, name) == 1 { rest = rest $4 " " $1 " " $5 "\n" }
            END { printf "%s%s", first, rest }' |
        sed 's/:[0-9]*$//'
}

# Sets $sources to those of the distribution of that codename; there is at least one.
find_sources() {
    mapfile -t sources < <(distribution_sources "$1")
    if [ ${#sources[@]} = 0 ]; then
        # apt names the sources whose lists it has, and it may have none yet.
        watched "apt-get update" as_root apt-get update
        mapfile -t sources < <(distribution_sources "$1")
    fi
    [ ${#sources[@]} -gt 0 ] || die "apt has no source of Debian or Ubuntu $1; see /etc/apt/sources.list and sources.list.d"
}

# How this machine's apt fetches, for an apt elsewhere: proxies, certificates, time-outs; no hooks.
ways_to_fetch() {
    apt-config dump | grep '^Acquire::' |
        grep -vE '^Acquire::(IndexTargets|CompressionTypes|Changelogs|Languages|cdrom)|Proxy-Auto-Detect| "";$'
}

# The Python to make environments with: the distribution's own if it will do, as its headers come from apt.
find_python() {
    local python
    for python in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
        if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null; then
            command -v "$python"
            return
        fi
    done
}

# environment DIRECTORY KEY COMMENT PIP-ARGUMENTS...: a virtual environment that was set up with KEY.
environment() {
    local directory=$1 key=$2 comment=$3 python
    shift 3
    [ "$(cat "$directory/set-up" 2> /dev/null)" != "$key" ] || return 0
    say "about to install with pip into ${directory#"$ROOT"/}: $comment"
    if ! "$directory/bin/python" -c 'import pip' 2> /dev/null; then
        python=$(find_python)
        [ -n "$python" ] || die "Python 3.11, 3.12 or 3.13 is needed, and none was found"
        rm -rf "$directory"
        watched "${directory##*/}" "$python" -m venv "$directory" || return
    fi
    rm -f "$directory/set-up"
    watched "pip install" "$directory/bin/python" -m pip install --disable-pip-version-check --no-input "$@"
    echo "$key" > "$directory/set-up"
}

# EXTRAS is a list like libvirt,dev; what is there already with more of them will do.
setup_python() {
    local extras=$1 sum key
    sum=$(cd "$ROOT" && cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
    case "$(cat "$ROOT/.venv/set-up" 2> /dev/null) for $extras" in
        "$ROOT $sum $extras for "* | "$ROOT $sum libvirt,dev for "*) return ;;
        "$ROOT $sum libvirt,nats,postgresql for libvirt") return ;;
    esac
    key="$ROOT $sum $extras"
    environment "$ROOT/.venv" "$key" "floe-cloud[$extras] and what it needs, as pinned in constraints.txt" \
        -c "$ROOT/constraints.txt" -e "$ROOT[$extras]"
    # So that the first start, perhaps by root, is quick and leaves no files behind.
    "$ROOT/.venv/bin/python" -m compileall -q "$ROOT/src"
}

setup_client() {
    local sum
    sum=$(sha256sum < "$ROOT/constraints-client.txt" | cut -c1-16)
    environment "$ROOT/.venv-client" "$ROOT $sum" "python-openstackclient, as pinned in constraints-client.txt" \
        -c "$ROOT/constraints-client.txt" python-openstackclient
}

# The collection comes out of the package `ansible`, which is 54 MB and unpacks to ten times that; only this one of its
# hundred collections stays.
setup_ansible() {
    local sum directory=$ROOT/.venv-ansible
    sum=$(sha256sum < "$ROOT/constraints-ansible.txt" | cut -c1-16)
    [ "$(cat "$directory/collections/set-up" 2> /dev/null)" = "$sum" ] || rm -rf "$directory/set-up" "$directory/collections"
    environment "$directory" "$ROOT $sum" "ansible-core and openstacksdk, as pinned in constraints-ansible.txt" \
        -c "$ROOT/constraints-ansible.txt" ansible-core openstacksdk
    [ ! -f "$directory/collections/set-up" ] || return 0
    say "about to fetch with pip for its collection openstack.cloud: ansible (54 MB)"
    watched "openstack.cloud" one_collection "$directory" openstack
    echo "$sum" > "$directory/collections/set-up"
}

# one_collection DIRECTORY NAMESPACE: what the package `ansible` has of that namespace, in DIRECTORY/collections.
one_collection() {
    local directory=$1 namespace=$2 status=0 wheel
    wheel=$(mktemp -d)
    "$directory/bin/python" -m pip download --disable-pip-version-check --no-input --no-deps -d "$wheel" \
        -c "$ROOT/constraints-ansible.txt" ansible &&
        "$directory/bin/python" -c '
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
prefix = f"ansible_collections/{sys.argv[3]}/"
wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith(prefix)])
' "$wheel"/ansible-*.whl "$directory/collections" "$namespace" || status=$?
    rm -rf "$wheel"
    return $status
}

setup_sdk() {
    local sum
    sum=$(sha256sum < "$ROOT/constraints-sdk.txt" | cut -c1-16)
    environment "$ROOT/.venv-sdk" "$ROOT $sum" "openstacksdk and older client libraries, as pinned in constraints-sdk.txt" \
        -c "$ROOT/constraints-sdk.txt" openstacksdk fixtures oslotest testscenarios testtools \
        python-glanceclient python-neutronclient python-novaclient
}

setup_osc() {
    local sum
    sum=$(sha256sum < "$ROOT/constraints-osc.txt" | cut -c1-16)
    environment "$ROOT/.venv-osc" "$ROOT $sum" "python-openstackclient's tests, as pinned in constraints-osc.txt" \
        -c "$ROOT/constraints-osc.txt" python-openstackclient tempest
}

setup_tempest() {
    local sum
    sum=$(sha256sum < "$ROOT/constraints-tempest.txt" | cut -c1-16)
    environment "$ROOT/.venv-tempest" "$ROOT $sum" "Tempest, as pinned in constraints-tempest.txt" \
        -c "$ROOT/constraints-tempest.txt" tempest
}

setup_image() {
    local image
    image=$(guest_image tiny)
    export GUEST_IMAGE=$image
}

setup_debian_image() {
    local image
    can_be_root || die "the Debian guest image is built in a chroot, which needs root"
    image=$(guest_image debian as_root)
    export DEBIAN_IMAGE=$image
}

# guest_image KIND [as_root]: the path of an image that is built already, or now.
guest_image() {
    local kind=$1
    shift
    if ! "$ROOT/scripts/build-guest-image" "$kind" --cached; then
        say "about to build the $kind guest image from packages (once)"
        # Package lists that are absent or out of date are the one thing that goes wrong here.
        if ! "$@" "$ROOT/scripts/build-guest-image" "$kind"; then
            watched "apt-get update" as_root apt-get update
            "$@" "$ROOT/scripts/build-guest-image" "$kind" || die "the guest image cannot be built"
        fi
    fi
}

# Only fetched and unpacked: where it is installed a libvirtd is started, with a network of its own.
setup_libvirt_system() {
    local folder=$ROOT/.cache/libvirt-daemon-system
    if [ ! -f "$folder/etc/libvirt/qemu.conf" ]; then
        say "about to fetch the package libvirt-daemon-system, to take its configuration"
        fetch_package libvirt-daemon-system "$folder"
        dpkg-deb -x "$folder"/*.deb "$folder"
        rm "$folder"/*.deb
    fi
    export LIBVIRT_SYSTEM=$folder
}

# Only fetched and unpacked: a machine that has cloud-init installed would be configured by it at its next boot.
setup_ds_identify() {
    local folder=$ROOT/.cache/cloud-init script=usr/lib/cloud-init/ds-identify
    if [ ! -f "$folder/$script" ]; then
        say "about to fetch the package cloud-init, to take ds-identify from it"
        fetch_package cloud-init "$folder"
        dpkg-deb --fsys-tarfile "$folder"/*.deb | tar -x -C "$folder" "./$script"
        rm "$folder"/*.deb
    fi
    export DS_IDENTIFY=$folder/$script
}

# fetch_package PACKAGE FOLDER: its file, in a folder that is new.
fetch_package() {
    rm -rf "$2" && mkdir -p "$2"
    download_package "$@" || {
        watched "apt-get update" as_root apt-get update
        download_package "$@" || die "the package $1 cannot be fetched"
    }
}

download_package() { (cd "$2" && apt-get download -q -o APT::Sandbox::User=root "$1" > /dev/null 2>&1); }

# Why tests with real guests cannot run here; nothing if they can.
obstacle_to_guests() {
    can_be_root || { echo "they need root, and there is no sudo"; return; }
    as_root true 2> /dev/null || { echo "they need root, and sudo was refused"; return; }
    as_root unshare --net --mount --uts true 2> /dev/null ||
        { echo "this machine lets root make no network, mount and UTS namespaces (a container without privileges?)"; return; }
    local report
    report=$(as_root "$ROOT/.venv/bin/floe" doctor --json) ||
        "$ROOT/.venv/bin/python" -c '
import json, sys
found = [f for f in json.loads(sys.argv[1])["findings"] if f["level"] == "missing"]
print("; ".join("%(name)s: %(what)s (%(remedy)s)" % f for f in found))' "$report"
}

# One set-up at a time in one checkout.
setup_lock() {
    mkdir -p "$ROOT/.cache"
    exec 9> "$ROOT/.cache/set-up.lock"
    flock -n 9 || { say "another script is setting up this checkout; waiting for it"; flock 9; }
}

setup_unlock() { exec 9>&-; }
