#!/bin/sh
# Makes the image `dockhost/test:latest` for tests: busybox and dropbear, unpacked from Debian's packages, about 6 MB.
# Needs root or not, `apt-get` (Debian or Ubuntu) and `docker`, which is led to its engine by DOCKER_HOST as usual.
# Nothing is installed on the machine. Does nothing when the image is already there; `--force` makes it anew.
set -eu

image=dockhost/test:latest
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1:-}" != --force ] && docker image inspect "$image" > /dev/null 2>&1; then
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/lib64" "$root/etc/dropbear" "$root/etc/dockhost" "$root/root/.ssh" "$root/tmp" \
  "$root/var/run" "$root/proc" "$root/dev" "$root/sys" "$work/deb" "$work/unpacked"

# apt refuses to download as its own user into a directory that this user can't write.
chmod 777 "$work/deb"
chmod 755 "$work"
cd "$work/deb"
fetch() { apt-get download -qq busybox-static dropbear-bin libtomcrypt1 libtommath1 > "$work/apt.log" 2>&1; }
if ! fetch; then
  # A fresh machine has no package lists yet.
  apt-get update -qq > "$work/apt.log" 2>&1 || true
  fetch || { cat "$work/apt.log" >&2; echo "build.sh: could not download the packages" >&2; exit 1; }
fi
for package in ./*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done

cp "$work/unpacked/bin/busybox" "$root/bin/busybox"
for tool in sh ls cat echo grep mkdir rm mv cp chmod id sleep ps kill hostname uname wc sha256sum touch sync dd head \
  nc wget ping ip true false test printf env df free; do
  ln -s busybox "$root/bin/$tool"
done
for tool in dropbear dropbearkey; do
  found=$(find "$work/unpacked" -type f -name "$tool" | head -n 1)
  cp "$found" "$root/bin/$tool"
done

# The libraries: the ones just unpacked where there are, else this machine's own (libc, libz, libcrypt, the loader).
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
  docker import --change 'ENV PATH=/bin' --change 'ENV LD_LIBRARY_PATH=/lib' --change 'EXPOSE 22 80 443' \
    --change 'CMD ["/bin/dockhost-entrypoint"]' - "$image" > /dev/null
