"""RT Pipeline: radiotherapy DICOM to course-level, reviewable, research-grade data."""

__version__ = "0.1.0"
