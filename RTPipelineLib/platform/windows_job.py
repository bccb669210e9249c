"""Job objects of Windows: a process with all that it ever starts, ended as one.

Microsoft, "Job Objects" (Win32 API): processes started by a member are members too, and
JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE ends them all when the last handle of the job is closed, also by
the end of its owner. Imported on Windows only.
"""

from __future__ import annotations

import ctypes
from ctypes import wintypes

EXTENDED_LIMIT_INFORMATION = 9
KILL_ON_JOB_CLOSE = 0x2000
PROCESS_TERMINATE, PROCESS_SET_QUOTA = 0x0001, 0x0100
ENDED = 1  # exit status of the processes


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class Job:
    """A job object; its processes end with `end`, or when this object goes."""

    def __init__(self) -> None:
        self._kernel = _kernel()
        self._handle = self._kernel.CreateJobObjectW(None, None)
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = KILL_ON_JOB_CLOSE
        self._kernel.SetInformationJobObject(
            self._handle, EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)
        )

    @classmethod
    def around(cls, pid: int) -> Job | None:
        """A job with this process; None where the system does not allow one, then descendants are
        found by their parents alone."""
        job = cls()
        process = job._kernel.OpenProcess(PROCESS_TERMINATE | PROCESS_SET_QUOTA, False, pid)
        inside = job._kernel.AssignProcessToJobObject(job._handle, process)
        job._kernel.CloseHandle(process)
        return job if inside else None

    def end(self) -> None:
        """End every process of the job at once."""
        self._kernel.TerminateJobObject(self._handle, ENDED)

    def __del__(self) -> None:
        self._kernel.CloseHandle(self._handle)


def _kernel() -> ctypes.CDLL:
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    handle, number = wintypes.HANDLE, wintypes.DWORD
    for name, result, arguments in (
        ("CreateJobObjectW", handle, (wintypes.LPVOID, wintypes.LPCWSTR)),
        ("SetInformationJobObject", wintypes.BOOL, (handle, ctypes.c_int, wintypes.LPVOID, number)),
        ("OpenProcess", handle, (number, wintypes.BOOL, number)),
        ("AssignProcessToJobObject", wintypes.BOOL, (handle, handle)),
        ("TerminateJobObject", wintypes.BOOL, (handle, wintypes.UINT)),
        ("CloseHandle", wintypes.BOOL, (handle,)),
    ):
        function = getattr(kernel, name)
        function.restype, function.argtypes = result, arguments
    return kernel
