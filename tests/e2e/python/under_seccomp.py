"""Becomes a program under a profile of seccomp as container runtimes apply it, without capabilities:
under_seccomp.py PROFILE [--without NAME[,NAME…]] PROGRAM ARGUMENT...

Rules for other machines, and names that this machine has not, are passed over, as runtimes do.
"""

import ctypes
import json
import os
import sys

seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
seccomp.seccomp_init.restype = ctypes.c_void_p
ACTIONS = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_ERRNO": 0x00050000}
COMPARE = {"SCMP_CMP_NE": 1, "SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}


class Compare(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


def action(name: str, number: int) -> int:
    return ACTIONS[name] | (number if name == "SCMP_ACT_ERRNO" else 0)


def check(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))


def apply(profile: dict, without: set) -> None:
    default = action(profile["defaultAction"], profile["defaultErrnoRet"])
    context = ctypes.c_void_p(seccomp.seccomp_init(default))
    for rule in profile["syscalls"]:
        does = action(rule["action"], rule.get("errnoRet", 1))
        compares = [compare(each) for each in rule.get("args", [])]
        array = (Compare * len(compares))(*compares)
        for name in rule["names"]:
            number = seccomp.seccomp_syscall_resolve_name(name.encode())
            if number >= 0 and name not in without:
                check(seccomp.seccomp_rule_add_array(context, does, number, len(compares), array))
    check(seccomp.seccomp_load(context))


def compare(rule: dict) -> Compare:
    masked = rule["op"] == "SCMP_CMP_MASKED_EQ"
    value, other = rule["value"], rule.get("valueTwo", 0)
    return Compare(rule["index"], COMPARE[rule["op"]], value, other if masked else 0)


arguments = sys.argv[1:]
with open(arguments.pop(0), encoding="utf-8") as file:
    read = json.load(file)
left_out = set()
if arguments[0] == "--without":
    left_out = set(arguments[1].split(","))
    arguments = arguments[2:]
apply(read, left_out)
os.execv(arguments[0], arguments)
