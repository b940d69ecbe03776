#!/bin/sh
# Builds the image `dockhost/test:latest` for tests: busybox and dropbear from Debian's packages, about 6 MB.
# Needs `apt-get` (Debian or Ubuntu) and `docker` (which uses DOCKER_HOST), but not root, and installs nothing on the
# machine. If the image exists and is not of an earlier version, the script does nothing; `--force` rebuilds it.
set -eu

image=dockhost/test:latest
here=$(cd "$(dirname "$0")" && pwd)

label=dockhost.reads-keys-from
found=$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$image" 2> /dev/null || true)
if [ "${1:-}" != --force ] && [ "$found" = /etc/dockhost/keys ]; then
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/lib64" "$root/etc/dropbear" "$root/etc/dockhost" "$root/root/.ssh" "$root/tmp" \
  "$root/var/run" "$root/proc" "$root/dev" "$root/sys" "$work/deb" "$work/unpacked"

# apt downloads as its own user, which must be able to write to the directory.
chmod 777 "$work/deb"
chmod 755 "$work"
cd "$work/deb"
fetch() { apt-get download -qq busybox-static dropbear-bin libtomcrypt1 libtommath1 > "$work/apt.log" 2>&1; }
if ! fetch; then
  # A new machine has no package lists yet.
  apt-get update -qq > "$work/apt.log" 2>&1 || true
  fetch || { cat "$work/apt.log" >&2; echo "build.sh: could not download the packages" >&2; exit 1; }
fi
for package in ./*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done

cp "$work/unpacked/bin/busybox" "$root/bin/busybox"
for tool in sh ls cat echo grep mkdir rm mv cp chmod id sleep ps kill hostname uname wc sha256sum touch sync dd head \
  nc wget ping ip ln true false test printf env df free; do
  ln -s busybox "$root/bin/$tool"
done
for tool in dropbear dropbearkey; do
  found=$(find "$work/unpacked" -type f -name "$tool" | head -n 1)
  cp "$found" "$root/bin/$tool"
done

# Libraries: the unpacked ones if present, otherwise this machine's (libc, libz, libcrypt, the loader).
libraries=$(find "$work/unpacked" -name 'lib*.so*' -exec dirname {} \; | sort -u | tr '\n' ':')
LD_LIBRARY_PATH=$libraries ldd "$root/bin/dropbear" "$root/bin/dropbearkey" | grep -o '/[^ ]*' | grep -v ':$' | sort -u |
  while read -r library; do
    case $library in
      *ld-linux*) mkdir -p "$root$(dirname "$library")"; cp -L "$library" "$root$library" ;;
      *) mkdir -p "$root/lib"; cp -L "$library" "$root/lib/" ;;
    esac
  done

echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
echo 'root:x:0:' > "$root/etc/group"
echo '/bin/sh' > "$root/etc/shells"
chmod 700 "$root/root" "$root/root/.ssh"
chmod 1777 "$root/tmp"
install -m 755 "$here/entrypoint.sh" "$root/bin/dockhost-entrypoint"

tar -C "$root" --owner=0 --group=0 --numeric-owner -c . |
  docker import --change 'ENV PATH=/bin' --change 'ENV LD_LIBRARY_PATH=/lib' \
    --change "LABEL $label=/etc/dockhost/keys" --change 'EXPOSE 22' --change 'EXPOSE 80' --change 'EXPOSE 443' --change 'CMD ["/bin/dockhost-entrypoint"]' - "$image" > /dev/null
