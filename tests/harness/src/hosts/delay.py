"""Passes frames between two network interfaces, each direction with its own delay in seconds.

Arguments: the interfaces, the delays of what each of them receives. Without delays it only tries whether it can.
"""

import collections
import select
import socket
import sys
import time

SOL_PACKET = 263
# With each frame what the kernel has not yet done: its checksum, and its division into packets.
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
ETH_P_ALL = 3
# Larger than any frame with its header.
MAX_FRAME = 70_000


def link(name):
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    opened.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    opened.bind((name, ETH_P_ALL))
    opened.setblocking(False)
    return opened


def receive(one):
    while True:
        try:
            yield one.recv(MAX_FRAME)
        except OSError:
            # None is left.
            return


one, other = link(sys.argv[1]), link(sys.argv[2])
if len(sys.argv) == 3:
    sys.exit()
directions = [
    (one, other, float(sys.argv[3]), collections.deque()),
    (other, one, float(sys.argv[4]), collections.deque()),
]
print("ready", flush=True)
while True:
    due = [queue[0][0] for _, _, _, queue in directions if queue]
    select.select([one, other], [], [], max(0, min(due) - time.monotonic()) if due else None)
    now = time.monotonic()
    for source, target, delay, queue in directions:
        queue.extend((now + delay, frame) for frame in receive(source))
        while queue and queue[0][0] <= now:
            try:
                target.send(queue.popleft()[1])
            except OSError:
                # Lost, as on any network.
                pass
