"""A filter of system calls for a confined process (``seccomp(2)``): no sockets, programs, processes, signals to others.

The audit hook of ``child`` refuses what Python asks for, with a sentence; this refuses the kernel's own calls, whatever
native code a hostile file may have bent. What is refused fails with EPERM. The filter is classic BPF, written here
since it is thirty lines without a branch: a library for it (libseccomp) would have to be there on every machine.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from dataclasses import dataclass
from typing import Final

_PR_GET_SECCOMP = 21
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_LOAD, _EQUALS, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
#: Offsets in ``struct seccomp_data``, little-endian.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_CLONE_THREAD = 0x00010000
#: Numbers from here on are those of x32, another way to call the same (x86_64 alone).
_X32 = 0x40000000


@dataclass(frozen=True)
class _Machine:
    """How a machine numbers its calls (``asm/unistd.h``), and its name in filters (``linux/audit.h``)."""

    audit: int
    clone: int
    signals: tuple[int, int]
    network: tuple[int, ...]
    others: tuple[int, ...]
    has_x32: bool = False


#: io_uring, new ways to mount, file handles of processes: the same on every machine.
_EVERYWHERE: Final = (424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 442)
_CLONE3 = 435
_MACHINES: Final = {
    "x86_64": _Machine(
        0xC000003E,
        clone=56,
        signals=(62, 234),  # kill, tgkill
        # socket, connect, accept, bind, listen, socketpair, accept4
        network=(41, 42, 43, 49, 50, 53, 288),
        # fork, vfork, execve, ptrace, rt_sigqueueinfo, pivot_root, chroot, mount, umount2, init_module, tkill,
        # kexec_load, add_key, request_key, keyctl, unshare, rt_tgsigqueueinfo, perf_event_open, open_by_handle_at,
        # setns, process_vm_readv, process_vm_writev, finit_module, bpf, execveat, userfaultfd
        others=(
            57, 58, 59, 101, 129, 155, 161, 165, 166, 175, 200, 246,
            248, 249, 250, 272, 297, 298, 304, 308,
            310, 311, 313, 321, 322, 323,
        ),
        has_x32=True,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        clone=220,
        signals=(129, 131),
        network=(198, 203, 202, 200, 201, 199, 242),
        # umount2, mount, pivot_root, chroot, unshare, kexec_load, init_module, ptrace, tkill, rt_sigqueueinfo, add_key,
        # request_key, keyctl, execve, rt_tgsigqueueinfo, perf_event_open, open_by_handle_at, setns, process_vm_readv,
        # process_vm_writev, finit_module, bpf, execveat, userfaultfd
        others=(
            39, 40, 41, 51, 97, 104, 105, 117, 130, 138, 217,
            218, 219, 221, 240, 241, 265, 268, 270,
            271, 273, 280, 281, 282,
        ),
    ),
}  # fmt: skip


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_if_true", ctypes.c_uint8),
        ("jump_if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def has_syscall_filter() -> bool:
    """Whether confined processes on this machine have the filter: Linux on a processor that is known here."""
    return _machine() is not None and _prctl(_PR_GET_SECCOMP, 0, None) >= 0


def filter_calls(*, network: bool) -> bool:
    """Give up, for this process and all that it makes, what ``network`` does not ask for; whether that was possible.

    The process has given up new privileges before (``PR_SET_NO_NEW_PRIVS``).
    """
    machine = _machine()
    if machine is None:
        return False
    instructions = _instructions(machine, network=network)
    listed = (_Instruction * len(instructions))(*(_Instruction(*one) for one in instructions))
    program = _Program(len(instructions), listed)
    return _prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program)) == 0


def _machine() -> _Machine | None:
    known = sys.platform == "linux" and sys.byteorder == "little" and sys.maxsize > 2**32
    return _MACHINES.get(platform.machine()) if known else None


def _instructions(machine: _Machine, *, network: bool) -> list[tuple[int, int, int, int]]:
    refused = (_RETURN, 0, 0, _FAIL | errno.EPERM)
    calls = (*machine.others, *_EVERYWHERE, *(() if network else machine.network))
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUALS, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        *([(_AT_LEAST, 0, 1, _X32), refused] if machine.has_x32 else []),
        # The C library makes threads by it, or by clone where it is not there: only that shows its flags.
        (_EQUALS, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
        *(part for call in calls for part in ((_EQUALS, 0, 1, call), refused)),
        # A signal to itself is how a process aborts.
        *(
            part
            for call in machine.signals
            for part in (
                (_EQUALS, 0, 4, call),
                (_LOAD, 0, 0, _FIRST_ARGUMENT),
                (_EQUALS, 1, 0, os.getpid()),
                refused,
                (_RETURN, 0, 0, _ALLOW),
            )
        ),
        # A thread is no process.
        (_EQUALS, 0, 3, machine.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        refused,
        (_RETURN, 0, 0, _ALLOW),
    ]


def _prctl(option: int, mode: int, argument: object) -> int:
    return int(ctypes.CDLL(None, use_errno=True).prctl(option, mode, argument, 0, 0))
