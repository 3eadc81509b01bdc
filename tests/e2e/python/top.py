"""Runs `stentor top` on a terminal of its own: types, resizes, and tells what came of it as JSON."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time

PROGRAM, URL = sys.argv[1:]


def resize(descriptor, rows, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


pid, terminal = pty.fork()
if pid == 0:
    # The first look must be at the size that is meant.
    resize(0, 24, 80)
    os.execve(PROGRAM, [PROGRAM, "top", "--url", URL, "--interval", "0.2"], {"TERM": "xterm"})

seen = b""


def read_until(pattern):
    """Reads until the pattern has come since the last call."""
    global seen
    start, deadline = len(seen), time.monotonic() + 60
    while not re.search(pattern, seen[start:]):
        if time.monotonic() > deadline:
            sys.exit(f"{pattern!r} never came: {seen[start:]!r}")
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 65536)
    return seen[start:]


read_until(rb"sorted by deliveries")
os.write(terminal, b"n")
is_sorted = b"sorted by name" in read_until(rb"sorted by name")
resize(terminal, 12, 40)
picture = b""
# A picture that was drawn whole after the new size: one that ends before the next begins.
for _ in range(4):
    picture = read_until(rb"\x1b\[H[^\x00]*?sorted by na[^\x00]*?\x1b\[J")
last = picture.split(b"\x1b[H")[-1].split(b"\x1b[J")[0]
lines = [re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", line) for line in last.split(b"\r\n")]
os.write(terminal, b"q")
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    seen += piece
_, status = os.waitpid(pid, 0)
after = termios.tcgetattr(terminal)[3] & (termios.ICANON | termios.ECHO)
print(json.dumps({
    "code": os.waitstatus_to_exitcode(status),
    "entered": b"\x1b[?1049h" in seen,
    "left": seen.rstrip().endswith(b"\x1b[?1049l"),
    "sorted": is_sorted,
    "restored": after == termios.ICANON | termios.ECHO,
    "widest": max(len(line.decode()) for line in lines),
    "lines": len(lines),
}))
