"""Becomes a program to which io_uring is forbidden, as the default profiles of container runtimes
do: forbid_io_uring.py PROGRAM ARGUMENT...

A seccomp filter answers io_uring_setup, io_uring_enter and io_uring_register with EPERM. Their
numbers are the same on every architecture of ours.
"""

import ctypes
import os
import struct
import sys

FIRST, LAST, EPERM = 425, 427, 1
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD, JUMP_IF_AT_LEAST, JUMP_IF_ABOVE, RETURN = 0x20, 0x35, 0x25, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

FILTER = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in [
        (LOAD, 0, 0, 0),
        (JUMP_IF_AT_LEAST, 0, 2, FIRST),
        (JUMP_IF_ABOVE, 1, 0, LAST),
        (RETURN, 0, 0, ERRNO | EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def prctl(*arguments) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"prctl{arguments[:2]}")


prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
program = Program(len(FILTER) // 8, FILTER)
prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
