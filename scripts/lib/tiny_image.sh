# The tiny guest image, sourced by scripts/build-guest-image. Packages come by `apt-get download`; nothing is installed.

# shellcheck shell=bash disable=SC2154
kib_root=49152          # root file system as built; it grows at the first boot
root_label=floe-root
boot_line="console=tty0 console=ttyS0,115200 quiet loglevel=3 no_timer_check mitigations=off nokaslr \
cryptomgr.notests rcupdate.rcu_expedited=1 random.trust_cpu=on 8250.nr_uarts=1 i8042.noaux net.ifnames=0"

get_ready() {
    need readelf strip cpio gcc
    if [ "$(id -u)" != 0 ] && [ -z "${FAKEROOTKEY:-}" ]; then
        need fakeroot
        exec fakeroot "$0" "$kind" ${how:+"$how"}
    fi
}

make_image() {
    local kernel modules='' packages wanted busybox=$tree/bin/busybox
    initramfs=$work/initramfs
    kernel=$(kernel_package)
    version=${kernel#linux-image-}
    ! apt-cache show "linux-modules-$version" > /dev/null 2>&1 || modules=linux-modules-$version
    mapfile -t packages < <(grep -v '^#' "$recipe/packages")
    mapfile -t wanted < <(closure "${packages[@]}")
    fetch_packages "$kernel" ${modules:+"$modules"} "${wanted[@]}"
    unpack
    [ -f "$busybox" ] || busybox=$tree/usr/bin/busybox
    make_root
    make_boot
    make_disk 3 "$boot_line" -m 0 -J size=4
}

kernel_package() {
    local name
    for name in linux-image-cloud-amd64 linux-image-virtual linux-image-generic; do
        name=$(apt-cache depends "$name" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
        [ -z "$name" ] || { echo "$name"; return; }
    done
    die "apt knows no kernel package (linux-image-cloud-amd64 or linux-image-virtual); run apt-get update first"
}

# The named packages and the shared libraries they need, each once.
closure() {
    local all="$*" edge="$*" next
    while [ -n "$edge" ]; do
        # shellcheck disable=SC2086
        next=$(apt-cache depends $edge | awk '/^ +(Pre)?Depends: (lib|zlib)/ { print $NF }' | sort -u)
        edge=$(comm -13 <(tr ' ' '\n' <<< "$all" | sort -u) <(echo "$next") | tr '\n' ' ')
        edge=${edge% }
        all="$all${edge:+ $edge}"
    done
    tr ' ' '\n' <<< "$all" | sort -u
}

unpack() {
    local deb
    for deb in "$work"/debs/*.deb; do
        case ${deb##*/} in
            busybox_*) dpkg-deb -x "$deb" "$work/shell" ;;  # its files bear the names of busybox-static's
            *) dpkg-deb -x "$deb" "$tree" ;;
        esac
    done
    for deb in "$work"/shell/bin/busybox "$work"/shell/usr/bin/busybox; do
        [ ! -f "$deb" ] || install -D -m 755 "$deb" "$tree/shell/busybox"
    done
}

# first_file NAME DIRECTORY...: the first match, or nothing; directories may be missing.
first_file() {
    local name=$1 directory found
    shift
    for directory in "$@"; do
        [ -d "$directory" ] || continue
        found=$(find "$directory" -name "$name" -print -quit)
        [ -z "$found" ] || { echo "$found"; return; }
    done
}

# What curl has of protocols and encodings beside HTTP's own; with what they need they weigh more than all the rest.
left_out() { case $1 in libzstd* | libldap* | liblber* | libgssapi* | librtmp* | libssh[0-9.-]* | libpsl* | libidn2*) ;; *) return 1 ;; esac; }

needed() { readelf -d "$1" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

# Copy the programs given, and every library they load, into the root.
install_programs() {
    local pair from to queue="" seen=" " name found absent=""
    for pair in "$@"; do
        from=${pair%%:*} to=${pair#*:}
        for found in "$tree/$from" "$tree/usr/$from" "$tree/${from#usr/}"; do [ ! -f "$found" ] || break; done
        [ -f "$found" ] || die "the packages hold no $from"
        install -D -m 755 "$found" "$root/$to"
        queue+=" $(needed "$root/$to")"
    done
    while [ -n "${queue// /}" ]; do
        local next=""
        for name in $queue; do
            case $seen in *" $name "*) continue ;; esac
            seen+="$name "
            if left_out "$name"; then absent+=" $name"; continue; fi
            found=$(first_file "$name" "$tree/lib" "$tree/usr/lib" "$tree/usr/libexec")
            [ -n "$found" ] || die "the packages hold no library $name"
            cp -L "$found" "$root/lib/x86_64-linux-gnu/$name"
            next+=" $(needed "$found")"
        done
        queue=$next
    done
    # The loader lives where every program looks for it.
    mv "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$root/lib64/"
    ln -s /lib64/ld-linux-x86-64.so.2 "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    # shellcheck disable=SC2086
    [ -z "$absent" ] || stand_in $absent
}

symbols() { readelf --dyn-syms -W "$@" 2>/dev/null | awk -v undefined="$undefined" \
    '$5 ~ (undefined ? "GLOBAL" : "GLOBAL|WEAK") && ($7 == "UND") == undefined && $8 != "" { print $8 }'; }

# stand_in LIBRARY...: one small library in their place, so that curl starts. Its functions say what is missing and
# end the program as curl does for what it was built without; those that curl calls in any case answer nothing.
stand_in() {
    local libraries=$root/lib/x86_64-linux-gnu name
    undefined=1 symbols "$libraries"/libcurl.so.4 | sort -u > "$work/wanted"
    undefined=0 symbols "$libraries"/*.so* "$root"/lib64/* | sed 's/@.*//' | sort -u > "$work/there"
    awk -v names="$work/absent" 'FILENAME == ARGV[1] { there[$1] = 1; next }
         { name = version = $1; sub(/@.*/, "", name); if (!sub(/^[^@]*@+/, "", version)) version = "" }
         name in there { next }
         { print name > names; of[version] = of[version] " " name ";" }
         END { for (version in of) if (version != "") print version " { global:" of[version] " };" }' \
        "$work/there" "$work/wanted" > "$work/stand-in.map"
    { echo 'extern long write(int, const void *, unsigned long); extern void _exit(int);'
      while read -r name; do
          case $name in
              *_option) echo "long $name(void) { return -1; }" ;;
              psl_* | *version* | *_init | *_exit | *free*) echo "long $name(void) { return 0; }" ;;
              *) echo "long $name(void) { static const char said[] = \"curl: not built into this image: $name\\n\";" \
                  "write(2, said, sizeof said - 1); _exit(4); return 0; }" ;;
          esac
      done < "$work/absent"; } > "$work/stand-in.c"
    gcc -w -Os -s -fPIC -fno-builtin -shared -nostdlib -Wl,--version-script="$work/stand-in.map" \
        -o "$libraries/stand-in.so" "$work/stand-in.c"
    for name in "$@"; do ln -s stand-in.so "$libraries/$name"; done
}

# Programs that lie in sbin are found also by who has only bin in PATH, as users that run one command by SSH.
link_programs() {
    local program
    for program in "$root"/sbin/* "$root"/usr/sbin/*; do
        # Most are links that lead nowhere on this side, so -e does not see them.
        [ -n "$(find "$root/bin" "$root/usr/bin" -name "${program##*/}" -print -quit)" ] ||
            ln -s "${program#"$root"}" "$root/usr/bin/${program##*/}"
    done
}

make_root() {
    step "root file system"
    mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,usr/lib,lib/x86_64-linux-gnu,lib64,dev,proc,sys,run,tmp,mnt,root} \
        "$root"/{home/floe,etc/dropbear,var/lib/guest,var/lib/dhcpcd,var/log}
    ln -s ../run "$root/var/run"
    cp -R "$recipe/rootfs/." "$root/"
    find "$root" -type d -exec chmod 755 {} +
    chmod 1777 "$root/tmp"; chmod 700 "$root/root" "$root/etc/dropbear" "$root/var/lib/guest"
    # Not busybox-static: its shell runs applets of its own in place of programs that have their names.
    install -m 755 "$tree/shell/busybox" "$root/bin/busybox"
    local applet pam=lib/x86_64-linux-gnu/security
    for applet in $("$root/bin/busybox" --list-full | grep /); do
        [ -e "$root/$applet" ] || { mkdir -p "$root/${applet%/*}"; ln -s /bin/busybox "$root/$applet"; }
    done
    install_programs shell/busybox:bin/busybox usr/sbin/dropbear:usr/sbin/dropbear usr/bin/dropbearkey:usr/bin/dropbearkey \
        sbin/resize2fs:sbin/resize2fs usr/sbin/qemu-ga:usr/sbin/qemu-ga usr/bin/curl:usr/bin/curl \
        usr/bin/sudo:usr/bin/sudo usr/libexec/sudo/sudoers.so:usr/libexec/sudo/sudoers.so \
        "$pam/pam_permit.so:$pam/pam_permit.so" "$pam/pam_rootok.so:$pam/pam_rootok.so" bin/su:bin/su \
        bin/lsblk:bin/lsblk usr/bin/resizepart:sbin/resizepart sbin/blkid:sbin/blkid sbin/mkfs:sbin/mkfs sbin/mke2fs:sbin/mke2fs \
        usr/sbin/dhcpcd:sbin/dhcpcd bin/nc.traditional:usr/lib/guest/netcat
    for applet in ext2 ext3 ext4; do ln -sf mke2fs "$root/sbin/mkfs.$applet"; done
    cp "$tree/etc/mke2fs.conf" "$root/etc/"
    mkdir -p "$root/etc/ssl/certs"
    cat "$tree"/usr/share/ca-certificates/mozilla/*.crt > "$root/etc/ssl/certs/ca-certificates.crt"
    link_programs
    chmod 4755 "$root/usr/bin/sudo"; chmod 440 "$root/etc/sudoers"
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'floe:x:1000:1000::/home/floe:/bin/sh' \
        'dhcpcd:x:100:65534::/var/lib/dhcpcd:/bin/false' > "$root/etc/passwd"
    printf '%s\n' 'root:x:0:' 'tty:x:5:' 'disk:x:6:' 'cdrom:x:24:floe' 'floe:x:1000:' > "$root/etc/group"
    # `*`: no password opens these accounts until one is set; keys do.
    printf '%s\n' 'root:*:19000:0:99999:7:::' 'floe:*:19000:0:99999:7:::' > "$root/etc/shadow"
    chmod 600 "$root/etc/shadow"
    printf '%s\n' 'passwd: files' 'shadow: files' 'group: files' 'hosts: files dns' > "$root/etc/nsswitch.conf"
    printf '/bin/sh\n' > "$root/etc/shells"
    echo tiny > "$root/etc/hostname"
    echo '127.0.0.1 localhost' > "$root/etc/hosts"
    ln -s /proc/mounts "$root/etc/mtab"
    printf '\nTiny guest on %s\n' "$version" > "$root/etc/issue"
    printf '%s\n' 'export PATH=/sbin:/usr/sbin:/bin:/usr/bin' "PS1='\\u@\\h:\\w\\\$ '" > "$root/etc/profile"
}

copy_module() {
    local found
    found=$(first_file "$1.ko*" "$tree/lib/modules/$version" "$tree/usr/lib/modules/$version")
    case $found in
        '') return 0 ;;  # built into the kernel
        *.zst) zstd -qdc "$found" > "$initramfs/modules/$1.ko" ;;
        *.xz) xz -dc "$found" > "$initramfs/modules/$1.ko" ;;
        *) cp "$found" "$initramfs/modules/$1.ko" ;;
    esac
    strip --strip-debug "$initramfs/modules/$1.ko"
}

make_boot() {
    step "kernel $version and initramfs"
    mkdir -p "$initramfs"/{bin,dev,proc,sys,newroot,modules}
    install -m 755 "$recipe/initramfs/init" "$initramfs/init"
    install -m 755 "$busybox" "$initramfs/bin/busybox"
    local applet stage module
    for applet in sh mount cat insmod findfs usleep mkdir cp switch_root; do
        ln -s busybox "$initramfs/bin/$applet"
    done
    grep -v '^#' "$recipe/modules" > "$initramfs/modules/order"
    while read -r stage module; do
        [ -z "$stage" ] || [ -f "$initramfs/modules/$module.ko" ] || copy_module "$module"
    done < "$initramfs/modules/order"
    (cd "$initramfs" && find . | sort | cpio --quiet -o -H newc -R 0:0 | zstd -q -19) > "$boot/initrd"
    cp "$tree/boot/vmlinuz-$version" "$boot/vmlinuz"
}
