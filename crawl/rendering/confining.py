"""What the process of a renderer gives up before it starts a browser, for itself and all that descend from it.

The kernel refuses every socket but local ones, and every connection, whatever the browser was told or talked into. This
takes no privilege and works inside containers.
"""

import ctypes
import os
import platform
import resource
import struct
from pathlib import Path

# Source: the kernel's include/uapi/linux/{prctl,seccomp,audit,filter}.h and its tables of system calls.
_PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 22, 36, 38
_SECCOMP_MODE_FILTER = 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # where they stand in seccomp_data
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13  # EACCES
_FOREIGN_NUMBERS = 0x40000000  # x32, whose numbers are others
_IO_URING_SETUP = 425  # would make sockets without a system call
_AF_UNIX = 1
# By machine: how audit names it, and the numbers of socket and connect.
_MACHINES = {"x86_64": (0xC000003E, 41, 42), "aarch64": (0xC00000B7, 198, 203)}

NICE_MAX = 19
FILE_MAX_BYTES = 128 * 2**20  # of each that the browser writes
CPU_SECONDS_OVER = 10


class CannotConfineError(Exception):
    """The system lacks what keeps a browser from the network."""


def confine(*, cpu_seconds: int) -> None:
    """Give up the network, priority, and time without end.

    Raises:
        CannotConfineError: if the network cannot be given up here.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # who is left by its parent becomes ours, and is found when all is ended
    os.setpriority(os.PRIO_PROCESS, 0, NICE_MAX)
    _leave_idle_policy()
    Path("/proc/self/oom_score_adj").write_text("1000")  # of all processes the first to go where memory is short
    for limit, value in (
        (resource.RLIMIT_CPU, cpu_seconds + CPU_SECONDS_OVER),
        (resource.RLIMIT_FSIZE, FILE_MAX_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    _refuse_network()


def _leave_idle_policy() -> None:
    """Workers may run under SCHED_IDLE (core/priority.py), where a browser beside busy cores would not get anywhere."""
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        return


def _refuse_network() -> None:
    if platform.machine() not in _MACHINES:
        raise CannotConfineError(f"Pages cannot be rendered on {platform.machine()}.")
    architecture, socket, connect = _MACHINES[platform.machine()]
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, no=9),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _FOREIGN_NUMBERS, yes=7),
        _step(_EQUAL, _IO_URING_SETUP, yes=6),
        _step(_EQUAL, connect, yes=5),
        _step(_EQUAL, socket, yes=1),
        _step(_RETURN, _ALLOW),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_EQUAL, _AF_UNIX, no=1),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _REFUSE),
    ]
    program = ctypes.create_string_buffer(b"".join(steps))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(steps), ctypes.addressof(program))))


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """Return one instruction; ``yes`` and ``no`` say how many to leap over."""
    return struct.pack("HBBI", code, yes, no, value)


def _prctl(option: int, *arguments: object) -> None:
    call = ctypes.CDLL(None, use_errno=True).prctl
    numbers = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in (*arguments, 0, 0, 0, 0)[:4]]
    if call(option, *numbers) != 0:
        raise CannotConfineError(f"The kernel refuses to take the network away: {os.strerror(ctypes.get_errno())}.")
