"""Where messages of the library go: one place for the program and its workers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence


def send_messages(handlers: Sequence[logging.Handler]) -> None:
    """Send all messages of RT Pipeline to these handlers, instead of those set before."""
    package = logging.getLogger(__package__)
    for old in package.handlers:  # of an earlier call in this process
        old.close()
    package.handlers[:] = handlers
    package.setLevel(logging.DEBUG)
    package.propagate = False
    # pydicom warns about every odd value of every file; what matters is a flag or a row of ours.
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
