"""A program that cannot outlive the process that asked for it.

    python -m RTPipelineLib.segmentation.guard PARENT_PID    < {"arguments": [..], "env": {..}}

The guard starts the program in its own session, passes its exit status on (128 + n for signal n),
and ends the whole session when the parent's process is gone. Neither the program nor the parent can
do that: a program that ignores signals and leaves children behind does not watch its parent, and a
parent that was killed does nothing at all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from ..platform import kill_tree, start_process

INTERVAL_S = 0.5
END = "--end"
MODULE = "RTPipelineLib.segmentation.guard"


def start_guarded(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path
) -> subprocess.Popen[bytes]:
    """Start a program under a guard; its output (both streams) is the guard's stdout, a pipe.

    The guard runs in this interpreter and this environment, the program in `env`. End it with
    `kill_tree`.
    """
    library = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH", "")]))
    guard = start_process(
        [sys.executable, "-m", MODULE, str(os.getpid())],
        env={**os.environ, "PYTHONPATH": path},
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    # By its input: an argument list can be read by everybody on the machine.
    with guard.stdin as orders:
        orders.write(json.dumps({"arguments": list(arguments), "env": dict(env)}).encode())
    return guard


def main(arguments: Sequence[str]) -> int:
    """Run the program and watch the parent; or, after `--end`, end the session of a guard."""
    if arguments[0] == END:
        kill_tree(int(arguments[1]), grace_s=0.5)
        return 0
    try:
        parent = psutil.Process(int(arguments[0]))
    except psutil.NoSuchProcess:
        return 1
    orders = json.load(sys.stdin)
    try:
        # In the guard's session, so that whoever ends the guard's tree finds it and its orphans.
        program = subprocess.Popen(orders["arguments"], env=orders["env"], stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{orders['arguments'][0]} could not be started: {error.strerror or error}")
        return 127
    while True:
        try:
            status = program.wait(INTERVAL_S)
            return status if status >= 0 else 128 - status
        except subprocess.TimeoutExpired:
            if not parent.is_running() or parent.status() == psutil.STATUS_ZOMBIE:
                # From another session, which sees the orphans of this one and ends the guard too.
                start_process([sys.executable, "-m", MODULE, END, str(os.getpid())])
                time.sleep(60)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
