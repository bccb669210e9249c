"""The errors of RT Pipeline: one small tree, so that a caller can catch what it can answer.

    RTPipelineError
        UsageError          arguments or configuration are wrong; nothing was done   (exit status 2)
            ConfigError     a key, a value or a type in a configuration file
        DataError           an input object is broken, unsupported or contradicts itself
            DicomError      a DICOM file cannot be used; carries its path
            GeometryError   positions, orientations or frames of reference do not fit together
            DoseRefused     a dose exists but must not be used as it is
        StageError          a stage could not produce its output
        OutputError         the output folder cannot be written, or is in use

Every message is one sentence or two: what was found, where, and what the user can do.
"""

from __future__ import annotations

from pathlib import Path


class RTPipelineError(Exception):
    """Root of all errors that RT Pipeline raises on purpose."""


class UsageError(RTPipelineError):
    """Arguments or configuration are wrong and no work was done."""


class ConfigError(UsageError):
    """A configuration file has an unknown key, a wrong type or an impossible value."""


class DataError(RTPipelineError):
    """An input is broken, unsupported or contradicts itself."""


class DicomError(DataError):
    """A DICOM file that cannot be used.

    The message names the file; `path` holds it for callers that build tables.
    """

    def __init__(self, message: str, path: str | Path | None = None) -> None:
        super().__init__(f"{path}: {message}" if path is not None else message)
        self.path = None if path is None else str(path)
        self.reason = message


class GeometryError(DataError):
    """Positions, orientations or frames of reference do not fit together."""


class DoseRefused(DataError):  # noqa: N818 - a verdict on the data, not a fault
    """A dose that exists but must not be used as it is (units, type, summation, missing parts)."""


class StageError(RTPipelineError):
    """A stage could not produce its output."""


class OutputError(RTPipelineError):
    """The output folder cannot be written, or another run holds it."""
