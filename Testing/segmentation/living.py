"""Which processes still run."""

import psutil


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that run; one that nobody has buried yet does not."""

    def runs(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return [pid for pid in pids if runs(pid)]
