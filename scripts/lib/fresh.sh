# The part of scripts/fresh that is root's: a root is made or unpacked, configured, entered, and removed. Bash.
#
#   fresh.sh run STAGE AS-USER KEEP [COMMAND...]
#
# All of it is in a folder of /var/tmp and in namespaces, and gone when this ends, however it ends: the processes with
# their PID namespace, the mounts with their mount namespace, and the folder by this or, after a kill -9, by the next run.

# shellcheck shell=bash
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
SELF=fresh
export LC_ALL=C
WEEK=7                # the days for which a root is kept as an archive; what is newer is apt's to fetch
ENOUGH=$((6 << 20))   # KiB that a root takes with all that is installed and run in it

# -- the folder --------------------------------------------------------------------------------------------------------

# A folder for this run alone; its path goes to $place.
make_place() {
    local other free
    for other in /var/tmp/floe-fresh.*/; do
        # A lock that nobody holds is that of a run that was killed. A folder without one is kept, or very young.
        if [ -e "$other/lock" ] && flock -n "$other/lock" true; then rm -rf --one-file-system "$other"; fi
    done
    free=$(df --output=avail /var/tmp | tail -n 1)
    [ "$free" -ge $ENOUGH ] || die "a root takes $((ENOUGH >> 20)) GiB in /var/tmp, and $((free >> 10)) MiB are free there"
    place=$(mktemp -d /var/tmp/floe-fresh.XXXXXX)
    root=$place/root
    exec 7> "$place/young"
    flock 7
    mv "$place/young" "$place/lock"
    mkdir -m 755 "$root"
}

clean_up() {
    local unshared tries=0
    rm -rf "$stage"
    [ -n "$place" ] || return 0
    if unshared=$(cat "$place/unshared" 2> /dev/null); then
        # The first process of a PID namespace takes all others with it; `unshare` ends when the last is gone.
        kill -KILL "$(cat "$place/first" 2> /dev/null || echo "$unshared")" 2> /dev/null || true
        wait "$unshared" 2> /dev/null || true
    fi
    if [ -n "$keep" ]; then
        rm -f "$place/lock"
        say "the root is left in $root; to remove it: rm -r $place"
        return
    fi
    until rm -rf --one-file-system "$place" 2> /dev/null || [ $tries -ge 50 ]; do sleep 0.1; tries=$((tries + 1)); done
    [ ! -e "$place" ] || say "$place could not be removed"
}

# contained FUNCTION ARGUMENT...: run a function of this file in namespaces that end when it ends, or this process does.
contained() {
    rm -f "$place/unshared" "$place/first"
    setpriv --pdeathsig KILL bash -c 'echo $$ > "$0"; exec unshare --mount --pid --fork --uts --kill-child "$@"' \
        "$place/unshared" env "place=$place" bash "${BASH_SOURCE[0]}" "$@" 7>&-
}

# The first thing in the namespaces.
contain() {
    local pid
    root=$place/root
    read -r pid _ < /proc/self/stat # as the outer /proc has it
    echo "$pid" > "$place/first"
    mount --make-rprivate /
    # The file system of /var/tmp may be mounted without devices, set-user-id bits or programs.
    mount --bind "$root" "$root"
    mount -o remount,bind,dev,suid,exec "$root"
}

# -- the distribution --------------------------------------------------------------------------------------------------

# Sets $sources, and $archive to the path of the root as debootstrap makes it.
setup_archive() {
    local name uri cache=$ROOT/.cache/fresh
    command -v apt-get > /dev/null || die "this machine has no apt; scripts/fresh knows Debian and Ubuntu"
    name=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$name" ] || die "this distribution has no codename (VERSION_CODENAME in /etc/os-release)"
    find_sources "$name"
    read -r uri _ <<< "${sources[0]}"
    case $uri in
        mirror+file:*) uri=$(grep -om1 '^[a-z]*:[^[:space:]]*' "${uri#mirror+file:}") || die "no mirror is named in $uri" ;;
    esac
    archive=$cache/$name-$({ echo "$uri"; declare -f bootstrap; } | sha256sum | cut -c1-16).tar.gz
    exec 8> "$cache/lock"
    flock -n 8 || { say "another run is making the root; waiting for it"; flock 8; }
    find "$cache" -name '*.tar.gz*' -mtime +$((WEEK - 1)) -delete
    if [ ! -f "$archive" ]; then
        install_packages debootstrap gpgv
        [ -e "/usr/share/debootstrap/scripts/$name" ] ||
            die "debootstrap here does not know $name; take a newer one, or link /usr/share/debootstrap/scripts/$name to a like one"
        say "about to make a root of $name with debootstrap; it is kept for a week in .cache/fresh"
        watched "debootstrap" contained bootstrap "$name" "$uri" "$archive.new"
        rm -rf "$root"
        mkdir -m 755 "$root"
        chown --reference="$ROOT" "$cache" "$cache/lock" "$archive.new"
        mv "$archive.new" "$archive"
    fi
    exec 8>&-
}

bootstrap() {
    contain
    mount -t proc proc /proc
    debootstrap --variant=minbase --include=ca-certificates "$1" "$root" "$2"
    # debootstrap writes this machine's name, resolver and mirror; and a fresh machine may have no lists of packages.
    rm -rf "$root"/etc/{hostname,resolv.conf,apt/sources.list} "$root"/var/{lib/apt/lists,cache/apt/archives}/*
    (umask 077 && tar -c --numeric-owner --one-file-system -C "$root" . | gzip -1 > "$3")
}

# -- what is passed on of the machine ----------------------------------------------------------------------------------

# carry PATH...: those that there are, links followed.
carry() {
    local path
    for path in "$@"; do
        [ -e "$path" ] || continue
        mkdir -p "$root${path%/*}"
        cp -RL --preserve=mode,timestamps "$path" "$root${path%/*}/"
    done
}

# The files that files name. Folders are left out: one of wheels, say, is this machine's own.
files_named_in() {
    local path
    { cat "$@" 2> /dev/null || true; } | { grep -aoE '/[^][ ,"=;[:cntrl:]]+' || true; } | sort -u |
        while read -r path; do [ ! -f "$path" ] || printf '%s\n' "$path"; done
}

configure() {
    local files found acquire=$root/etc/apt/apt.conf.d/90machine
    printf '127.0.0.1 localhost\n127.0.1.1 fresh\n' > "$root/etc/hosts"
    echo fresh > "$root/etc/hostname"
    carry /etc/resolv.conf
    # apt: the distribution's sources, the keys and lists of mirrors that they name, and how to fetch: no hooks, which
    # are for packages that only this machine has.
    mapfile -t files < <(printf '%s\n' "${sources[@]##* }" | sort -u)
    mapfile -t found < <(files_named_in "${files[@]}")
    carry "${files[@]}" "${found[@]}" \
        /etc/apt/{auth.conf,auth.conf.d,preferences,preferences.d,trusted.gpg,trusted.gpg.d,keyrings}
    ways_to_fetch > "$acquire"
    # pip: its files. Certificates: all that there are.
    carry /etc/pip.conf /etc/xdg/pip
    cp -a /etc/ssl/certs "$root/etc/ssl/"
    [ ! -d /usr/local/share/ca-certificates ] || cp -a /usr/local/share/ca-certificates "$root/usr/local/share/"
    mapfile -t found < <(files_named_in "$acquire" /etc/pip.conf /etc/xdg/pip/pip.conf "$stage/pip.conf" "$stage/environment")
    carry "${found[@]}"
}

# The home of whoever runs the commands, with the checkout.
furnish() {
    local home=$root/root
    if [ -n "$as_user" ]; then
        home=$root/home/floe
        chroot "$root" useradd --create-home --shell /bin/bash floe
    fi
    mkdir -p "$home/.config/pip"
    mv "$stage/pip.conf" "$home/.config/pip/pip.conf"
    mv "$stage/floe" "$home/floe"
    chown -R --reference="$home" "$home"
}

# -- in the root -------------------------------------------------------------------------------------------------------

# Runs as the first process of the namespaces.
enter() {
    local stage=$1 environment
    shift
    contain
    mapfile -d '' environment < "$stage/environment"
    rm -rf "$stage"
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o nosuid,nodev,mode=1777 shm "$root/dev/shm"
    mount -t tmpfs -o nosuid,nodev,mode=755 run "$root/run"
    mkdir -m 1777 "$root/run/lock"
    # The kernel is the machine's, and so are its modules.
    if [ -d /lib/modules ]; then
        mkdir -p "$root/lib/modules"
        mount --bind -o ro /lib/modules "$root/lib/modules"
    fi
    hostname fresh
    cd "$root"
    mkdir .machine
    pivot_root . .machine
    umount -l /.machine
    rmdir /.machine
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${environment[@]}" \
        bash -c "$(declare -f say become_user timed run_commands); run_commands \"\$@\"" "$SELF" "$@"
}

# The rest is all that the new root gets of this file.

run_commands() {
    local as_user=$1 home=/root status=0 command line results=()
    SELF=$0 become=(env HOME=/root USER=root LOGNAME=root SHELL=/bin/bash)
    shift
    trap 'exit 130' INT
    trap 'exit 143' TERM
    [ -z "$as_user" ] || become_user
    cd "$home/floe" || exit
    if [ $# -gt 0 ]; then
        timed "$@" || status=$?
    else
        for command in scripts/check scripts/test scripts/demo; do timed "$command" || status=1; done
    fi
    for line in "${results[@]}"; do say "$line"; done
    exit $status
}

# A fresh machine that has ordinary users has sudo, too.
become_user() {
    say "installing sudo for the user"
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends sudo; } > /var/log/sudo.log 2>&1 ||
        { cat /var/log/sudo.log >&2; exit 1; }
    rm -rf /var/lib/apt/lists/*
    (umask 337 && printf '%s\n' 'floe ALL=(ALL) NOPASSWD: ALL' 'Defaults env_keep += "http_proxy https_proxy no_proxy"' \
        > /etc/sudoers.d/floe)
    home=/home/floe
    become=(setpriv --reuid floe --regid floe --init-groups
        env HOME=$home USER=floe LOGNAME=floe SHELL=/bin/bash)
}

timed() {
    local start=$SECONDS status=0 how=passed
    say "$*"
    "${become[@]}" "$@" || status=$?
    [ $status = 0 ] || how="FAILED with exit status $status"
    results+=("$* $how, $((SECONDS - start))s")
    return $status
}

# ----------------------------------------------------------------------------------------------------------------------

run() {
    stage=$1 as_user=$2 keep=$3 place=''
    shift 3
    trap clean_up EXIT
    make_place
    setup_archive
    say "unpacking a fresh root in $place"
    tar -x --numeric-owner -f "$archive" -C "$root"
    configure
    furnish
    contained enter "$stage" "$as_user" "$@"
}

# Else it is sourced, by a test. Read to here before anything runs, for the file may change in the meantime.
[ "${BASH_SOURCE[0]}" != "$0" ] || { "$@"; exit; }
