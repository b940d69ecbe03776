#!/bin/sh
# The command of the test image: host keys once, then dropbear in the foreground (see ../README.md).
set -eu

key=/etc/dropbear/dropbear_ed25519_host_key
mkdir -p /etc/dropbear /etc/dockhost
[ -s "$key" ] || dropbearkey -t ed25519 -f "$key" > /dev/null
dropbearkey -y -f "$key" | grep '^ssh-' > /etc/dockhost/host_keys.pub

# Foreground, log to stderr, no passwords.
exec dropbear -F -E -s -r "$key" -p 22
