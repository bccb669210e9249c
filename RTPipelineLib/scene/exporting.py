"""A shown course as files for others: table, curves, RTSTRUCT, RTDOSE, page."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import slicer
from vtk.util.numpy_support import vtk_to_numpy

from ..dicom.dataset import read_dataset
from ..dicom.write import write_dose
from ..errors import RTPipelineError
from .display import Shown
from .dvh_course import Row, write_csv
from .edited import export_edited

PAGE, FIGURES = "report/course.html", "report/dvh_*"


def export_course(
    shown: Shown,
    rows: list[Row],
    folder: Path,
    chart: slicer.vtkMRMLPlotChartNode | None = None,
) -> tuple[list[Path], list[str]]:
    """Write what there is of a course into `folder`: `dvh_metrics.csv`, `dvh_curves.csv`, one
    `RS_*.dcm` a segmentation, `RD_*.dcm` of the dose shown first (the total), and of a course that
    the pipeline has processed `course.html` and the figures of its DVHs.

    The paths, and a sentence for each file that could not be written; the rest is. Nothing that
    lies there is overwritten but what an earlier export left under the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    if rows:
        jobs.append(("dvh_metrics.csv", lambda path: write_csv(path, rows)))
    if chart is not None:
        jobs.append(("dvh_curves.csv", lambda path: _write_curves(path, chart)))
    for number, node in enumerate(shown.segmentations.values(), 1):
        write = lambda path, node=node: export_edited(node, shown.course, path)  # noqa: E731
        jobs.append((f"RS_{number}.dcm", write))
    if shown.doses_gy:
        jobs.append(("RD_1.dcm", lambda path: _write_dose(path, shown)))
    page = shown.course.folder / PAGE
    if page.is_file():
        jobs.append(("course.html", lambda path: shutil.copyfile(page, path)))
    for figure in sorted(shown.course.folder.glob(FIGURES)):
        jobs.append((figure.name, lambda path, figure=figure: shutil.copyfile(figure, path)))
    paths, problems = [], []
    for name, write in jobs:
        try:
            write(folder / name)
            paths.append(folder / name)
        except (RTPipelineError, OSError, ValueError) as error:
            problems.append(f"{name} was not written: {error}")
    return paths, problems


def _write_dose(path: Path, shown: Shown) -> None:
    facts = shown.course.course
    entry = next(iter(facts.of_kind("rtdose")), None) or facts.objects[0]
    study = read_dataset(facts.path_of(entry), stop_before_pixels=True)
    write_dose(path, shown.doses_gy[0], patient_from=study, description="Dose shown in 3D Slicer")


def _write_curves(path: Path, chart: slicer.vtkMRMLPlotChartNode) -> None:
    """One line a point: curve, dose in Gy, volume in percent."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["curve", "dose_Gy", "volume_percent"])
        for number in range(chart.GetNumberOfPlotSeriesNodes()):
            series = chart.GetNthPlotSeriesNode(number)
            table = series.GetTableNode().GetTable()
            columns = (series.GetXColumnName(), series.GetYColumnName())
            dose_gy, percent = (vtk_to_numpy(table.GetColumnByName(name)) for name in columns)
            name = series.GetName()
            points = zip(dose_gy, percent, strict=True)
            writer.writerows([name, f"{x:.4f}", f"{y:.4f}"] for x, y in points)
