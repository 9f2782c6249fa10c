# The Debian guest image, sourced by scripts/build-guest-image. As root: its packages run their scripts in a chroot.

# shellcheck shell=bash disable=SC2154
kib_root=1310720        # root file system as built; cloud-init grows it at the first boot
root_label=debian-root
boot_line="ro console=tty0 console=ttyS0,115200 quiet no_timer_check mitigations=off random.trust_cpu=on"
spare=32                # MiB beside the kernel, for those that apt upgrades to

get_ready() {
    codename=$(. /etc/os-release && [ "$ID" = debian ] && echo "${VERSION_CODENAME:-}") ||
        die "the Debian image is made from Debian's own sources, on Debian; this machine is $(. /etc/os-release && echo "$NAME")"
    [ -n "$codename" ] || die "this Debian has no codename (VERSION_CODENAME in /etc/os-release)"
    [ "$(id -u)" = 0 ] || die "the Debian image is built in a chroot, which needs root: sudo $0 debian"
    install_packages mmdebstrap gpg # with gpg it finds by whose keys the sources are signed
    need mmdebstrap unshare
    find_sources "$codename"
}

make_image() {
    bootstrap
    step "settling it"
    lay_over
    local unit
    grep -v '^#' "$recipe/masked" | while read -r unit; do ln -s /dev/null "$root/etc/systemd/system/$unit"; done
    chroot "$root" systemctl --quiet enable systemd-networkd systemd-resolved
    forget_this_machine
    cp -L "$root/vmlinuz" "$boot/vmlinuz"
    cp -L "$root/initrd.img" "$boot/initrd"
    fetch_packages syslinux syslinux-common
    local deb
    for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$tree"; done
    make_disk $spare "$boot_line" -J size=16
}

# apt runs here, not in the chroot, so this machine's certificates and proxies serve; what it is told is written into the
# root, and taken out of it by forget_this_machine.
bootstrap() {
    local packages source uri suite line=()
    packages=$(grep -v '^#' "$recipe/packages" | paste -sd,)
    for source in "${sources[@]}"; do
        read -r uri suite _ <<< "$source"
        line+=("deb $uri $suite main")
    done
    { ways_to_fetch; echo 'APT::Sandbox::User "root";'; } > "$work/apt.conf"
    step "Debian $codename with mmdebstrap"
    # In namespaces of its own: its mounts and processes end with it, however it ends.
    unshare --mount --pid --fork --kill-child --mount-proc mmdebstrap --mode=root --format=directory --variant=minbase \
        --aptopt="$work/apt.conf" --dpkgopt="$recipe/rootfs/etc/dpkg/dpkg.cfg.d/excludes" --include="$packages" \
        "$codename" "$root" "${line[@]}" > "$work/mmdebstrap.log" 2>&1 < /dev/null ||
        die "mmdebstrap failed: $(tr '\r' '\n' < "$work/mmdebstrap.log" | tail -n 15)"
}

# The files of rootfs/, as root's and with the modes that git keeps.
lay_over() {
    local file mode
    (cd "$recipe/rootfs" && find . ! -type d) | while read -r file; do
        mkdir -p "$root/${file%/*}"
        if [ -L "$recipe/rootfs/$file" ]; then
            ln -sf "$(readlink "$recipe/rootfs/$file")" "$root/$file"
            continue
        fi
        mode=644
        [ ! -x "$recipe/rootfs/$file" ] || mode=755
        install -m $mode "$recipe/rootfs/$file" "$root/$file"
    done
}

# What mmdebstrap and packages wrote of where they ran, and what each guest has to make for itself.
forget_this_machine() {
    rm -rf "$root"/etc/apt/{sources.list,sources.list.d/*,apt.conf.d/99mmdebstrap} "$root"/var/lib/apt/lists/* \
        "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/var/cache/{apt/*.bin,apt/archives/*.deb,debconf/*-old} \
        "$root"/etc/{hostname,machine-id,resolv.conf,.resolv.conf.*} "$root"/var/lib/{dbus/machine-id,systemd/random-seed} \
        "$root"/etc/ssh/ssh_host_* "$root"/{run,tmp,var/tmp}/*
    find "$root/var/log" -type f -delete
    echo debian > "$root/etc/hostname"
    # Empty: each guest makes its own. Were it absent, systemd would set all units at each guest's first boot.
    touch "$root/etc/machine-id"
    ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
    # Caches of /usr are as new as it is, and need not be made again at the first boot.
    touch "$root/etc/.updated" "$root/var/.updated"
}
