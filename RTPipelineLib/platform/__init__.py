"""The one place that knows the operating system: atomic writes, locks, process trees, safe names.

Everything else in the library is the same on Linux, Windows and macOS.
"""

from .locks import FolderLock
from .machine import (
    available_cores,
    current_memory_mb,
    machine_memory_mb,
    peak_memory_mb,
    restart_peak_memory,
)
from .names import folder_name
from .processes import (
    TreeProcess,
    TreeState,
    adopt_orphans,
    die_with_starter,
    end_children,
    exit_with_parent,
    find_process,
    kill_tree,
    look_at_trees,
    runs_since,
    start_process,
    terminated_as_interrupted,
)
from .streams import redirect_output, take_channel
from .writes import (
    atomic_path,
    check_space,
    clean_leftovers,
    output_error,
    plain,
    remove_folder,
    replace_folder,
    temporary_path,
    write_json,
    write_text,
)

__all__ = [
    "FolderLock",
    "TreeProcess",
    "TreeState",
    "adopt_orphans",
    "atomic_path",
    "available_cores",
    "check_space",
    "clean_leftovers",
    "current_memory_mb",
    "die_with_starter",
    "end_children",
    "exit_with_parent",
    "find_process",
    "folder_name",
    "kill_tree",
    "look_at_trees",
    "machine_memory_mb",
    "output_error",
    "peak_memory_mb",
    "plain",
    "redirect_output",
    "remove_folder",
    "replace_folder",
    "restart_peak_memory",
    "runs_since",
    "start_process",
    "take_channel",
    "temporary_path",
    "terminated_as_interrupted",
    "write_json",
    "write_text",
]
