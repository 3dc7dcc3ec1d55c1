#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""hostile-nbd.py SOCKET SECONDS SEED: a client that keeps no rule of NBD.

Connects and hangs up at any point: in the middle of the handshake, of a request, of
its payload, or with answers that it never reads. Prints how many connections it made.
"""

import random
import socket
import struct
import sys
import time

IHAVEOPT = b"IHAVEOPT"
OPT_EXPORT_NAME, OPT_LIST, OPT_GO = 1, 3, 7
REQUEST_MAGIC = 0x25609513
READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES = 0, 1, 2, 3, 4, 6


def option(number, data):
    return IHAVEOPT + struct.pack(">II", number, len(data)) + data


def request(kind, offset, length, cookie=1, flags=0):
    return struct.pack(">IHHQQI", REQUEST_MAGIC, flags, kind, cookie, offset, length)


def connect(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.connect(path)
    return sock


def receive(sock, length):
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def handshake(sock):
    """As far as the first request."""
    receive(sock, 18)
    sock.sendall(struct.pack(">I", 3))
    sock.sendall(option(OPT_EXPORT_NAME, b""))
    receive(sock, 10)


def at_once(sock, rng):
    pass


def half_handshake(sock, rng):
    data = struct.pack(">I", 3) + option(OPT_GO, struct.pack(">IH", 0, 0))
    sock.sendall(data[: rng.randrange(len(data))])


def odd_options(sock, rng):
    receive(sock, 18)
    sock.sendall(struct.pack(">I", rng.choice([0, 1, 3, 0xFFFFFFFF])))
    for _ in range(rng.randrange(20)):
        sock.sendall(option(rng.randrange(12), rng.randbytes(rng.randrange(64))))


def long_option(sock, rng):
    receive(sock, 18)
    sock.sendall(struct.pack(">I", 3))
    sock.sendall(IHAVEOPT + struct.pack(">II", OPT_LIST, 0xFFFFFFFF) + b"x" * 4096)


def half_request(sock, rng):
    handshake(sock)
    data = request(READ, 0, 4096)
    sock.sendall(data[: rng.randrange(1, len(data))])


def half_payload(sock, rng):
    handshake(sock)
    length = rng.choice([4096, 65536, 1 << 20])
    sock.sendall(request(WRITE, 1 << 20, length))
    sock.sendall(bytes(rng.randrange(length)))


def unread_answers(sock, rng):
    handshake(sock)
    for cookie in range(rng.randrange(1, 32)):
        sock.sendall(request(READ, 0, 1 << 18, cookie))


def nonsense(sock, rng):
    handshake(sock)
    for cookie in range(rng.randrange(1, 16)):
        sock.sendall(
            request(
                rng.randrange(10),
                rng.choice([0, 4096, 1 << 40, (1 << 64) - 1]),
                rng.choice([0, 1, 4096, 0xFFFFFFFF]),
                cookie,
                rng.randrange(256),
            )
        )


def noise(sock, rng):
    handshake(sock)
    sock.sendall(rng.randbytes(rng.randrange(1, 4096)))


def disconnect_in_flight(sock, rng):
    handshake(sock)
    sock.sendall(request(READ, 0, 1 << 18) + request(FLUSH, 0, 0) + request(DISCONNECT, 0, 0))


WAYS = [
    at_once,
    half_handshake,
    odd_options,
    long_option,
    half_request,
    half_payload,
    unread_answers,
    nonsense,
    noise,
    disconnect_in_flight,
]


def main():
    path, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    held = []
    count = 0
    while time.monotonic() < until or count < 100:
        sock = connect(path)
        count += 1
        try:
            WAYS[count % len(WAYS)](sock, rng)
        except (ConnectionError, socket.timeout):
            pass  # the server has hung up: it may
        if rng.randrange(4):
            sock.close()
        else:
            held.append(sock)
        if len(held) > 20:
            held.pop(rng.randrange(len(held))).close()
    print(count)


main()
