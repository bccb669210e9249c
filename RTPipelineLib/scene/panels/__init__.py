"""Sections of panels that several modules of 3D Slicer show: the only widgets of the library.

Names are those of Qt and Slicer, camelCase as there.
"""
