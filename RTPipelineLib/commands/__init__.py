"""The commands of `rtpipeline`, one module each: `add_arguments(parser)` and `main(arguments) ->
status`.

Modules import their heavy parts inside `main`, so that `rtpipeline --help` stays quick.
"""

import re

# What a terminal would obey instead of showing it; hostile names come from DICOM files.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

ALL_DONE, BUG, NOTHING_DONE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def printable(text: str) -> str:
    """Text that may come from a file, without control characters."""
    return _CONTROLS.sub("?", text)


def show(text: str) -> None:
    """Print text that may come from a file."""
    print(printable(text))
