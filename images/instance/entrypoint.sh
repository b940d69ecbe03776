#!/bin/sh
# Command of a DockHost instance: generates the host key once and runs OpenSSH in the foreground (see ../README.md).
set -eu

key=/etc/ssh/ssh_host_ed25519_key
[ -s "$key" ] || ssh-keygen -q -t ed25519 -N '' -C dockhost -f "$key"

mkdir -p /etc/dockhost /run/sshd
cat "$key.pub" > /etc/dockhost/host_keys.pub

exec /usr/sbin/sshd -D -e
