"""Takes from a process, for good, every system call that code which only computes does not need (seccomp(2)).

After it there is no opening of files, no network, no other program, no new thread or process; what is open stays open.
Only the standard library is used here: the child may be another interpreter, without our libraries.
"""

import ctypes
import errno
import platform
import struct
import sys
from typing import Any, Final, NamedTuple, cast

_NO_NEW_PRIVS: Final = 38
_SET_FILTER: Final = 1
_ALL_THREADS: Final = 1
_KILL: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM
_LOAD: Final = 0x20
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_OTHER_ABI: Final = 0x40000000


class _Machine(NamedTuple):
    """How the kernel numbers things: the machine's own mark, seccomp's number, and what is left."""

    mark: int
    seccomp: int
    allowed: tuple[int, ...]


_MACHINES: Final = {
    # read write close fstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn sched_yield
    # mremap madvise nanosleep getpid sendto recvfrom exit gettimeofday getrusage sigaltstack gettid time futex
    # clock_gettime clock_getres clock_nanosleep exit_group ppoll getrandom rseq
    "x86_64": _Machine(
        0xC000003E,
        317,
        (
            0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 28, 35, 39, 44, 45, 60, 96, 98, 131, 186, 201, 202,
            228, 229, 230, 231, 271, 318, 334,
        ),
    ),
    # the same but for poll and time, which it has not
    "aarch64": _Machine(
        0xC00000B7,
        277,
        (
            63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 124, 216, 233, 101, 172, 206, 207, 93, 169, 165,
            132, 178, 98, 113, 114, 115, 94, 73, 278, 293,
        ),
    ),
}  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def is_known_here() -> bool:
    """Whether there is such a filter for this machine."""
    return sys.platform == "linux" and platform.machine() in _MACHINES


def restrict() -> None:
    """Leave this process and all its threads only what computing needs; OSError where the kernel does not do it."""
    if not is_known_here():
        raise OSError(errno.ENOSYS, "there is no filter of system calls for this machine")
    machine = _MACHINES[platform.machine()]
    code = _filter_of(machine)
    content = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(content, ctypes.c_void_p))
    kernel = cast(Any, ctypes.CDLL(None, use_errno=True))
    if kernel.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "privileges cannot be given up")
    if kernel.syscall(machine.seccomp, _SET_FILTER, _ALL_THREADS, ctypes.byref(program)):
        raise OSError(ctypes.get_errno() or errno.EPERM, "the kernel takes no filter of system calls")


def _filter_of(machine: _Machine) -> bytes:
    """The filter as the kernel reads it: eight bytes for each instruction."""
    lines = [_line(_LOAD, 4), _line(_IF_EQUAL, machine.mark, 1, 0), _line(_RETURN, _KILL)]
    lines += [_line(_LOAD, 0), _line(_IF_AT_LEAST, _OTHER_ABI, 0, 1), _line(_RETURN, _KILL)]
    for number in machine.allowed:
        lines += [_line(_IF_EQUAL, number, 0, 1), _line(_RETURN, _ALLOW)]
    return b"".join([*lines, _line(_RETURN, _REFUSE)])


def _line(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("<HBBI", code, then, otherwise, value)
