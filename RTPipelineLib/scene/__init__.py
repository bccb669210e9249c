"""Courses in the scene of 3D Slicer and back: the only room that knows MRML, VTK and RAS.

`opening` finds courses (an output folder, or plain DICOM), `display` shows one, `edited` takes
segments back to RTSTRUCT; the other modules make one kind of node each. No widgets here but in
`panels`, which has sections that several modules show.
"""
