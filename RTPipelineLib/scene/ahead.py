"""What showing a course needs, made while a person looks at another one: images decoded, structures
read and turned into labels. Nothing here touches MRML, so that a thread may do it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from ..course import PLANNING, ImageEntry, OpenCourse
from ..dicom.image import read_series
from ..errors import RTPipelineError
from ..model import Mask, Volume
from .segmentations import fine_enough, labels_of
from .sources import Content, sources_of

SHOWN = ("CT", "MR", "PT")  # further CT series (phases, cone beams) stay on disk


@dataclass(frozen=True)
class Prepared:
    """Volumes by the key of their series, and for each source of structures its content with the
    labels on the planning image. What could not be read is not here: showing it says why."""

    images: dict[str, Volume] = field(default_factory=dict)
    contents: dict[str, tuple[Content, list[Mask]]] = field(default_factory=dict)


def wanted_images(course: OpenCourse) -> list[ImageEntry]:
    """The planning image first; of other CT series none."""
    images = course.course.images
    planning = [i for i in images if i.role == PLANNING]
    return planning + [i for i in images if i.role != PLANNING and i.modality in SHOWN[1:]]


def prepare_course(course: OpenCourse) -> Prepared:
    """Decode and compute all that does not need the scene."""
    prepared = Prepared()
    for entry in wanted_images(course):
        with suppress(RTPipelineError, OSError):
            prepared.images[entry.key] = read_series(course.course.image_paths(entry))
    planning = course.course.planning_image
    volume = prepared.images.get(planning.key) if planning is not None else None
    if volume is not None:
        lattice = fine_enough(volume.grid.with_uniform_slices())
        for found in sources_of(course, volume.grid):
            with suppress(RTPipelineError, OSError):
                content = found.read()
                labels = [labels_of(one, lattice) for one in content.structures]
                prepared.contents[found.name] = (content, labels)
    return prepared


def prepare_in_background(course: OpenCourse) -> Future[Prepared]:
    """The same in a thread; the result is there when it is asked for."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="next course")
    future = pool.submit(prepare_course, course)
    pool.shutdown(wait=False)
    return future
