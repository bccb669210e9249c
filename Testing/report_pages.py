"""Pages with a given text wherever a text can stand, and a reader of their elements."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np

from RTPipelineLib.model import PrescriptionLevel
from RTPipelineLib.report.cohort_page import cohort_page
from RTPipelineLib.report.cohort_stats import Boxes, Point, band_of, box_of
from RTPipelineLib.report.content import (
    CheckLine,
    CohortReport,
    CourseLine,
    CourseReport,
    Notice,
    ObjectRow,
    StageRow,
)
from RTPipelineLib.report.course_page import course_page
from RTPipelineLib.report.figures import Curve
from RTPipelineLib.report.planes import AXIAL, Outline, Picture, Slices, jpeg

EVIL = "<script>alert('x')</script><img src=http://example.org/a.png onerror=x> \"&'\x00"
VOID = {"meta", "link", "br", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, texts, and every tag that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.wrong: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def a_course(text: str) -> CourseReport:
    """A report with this text wherever a text can stand."""
    dose = np.arange(0, 70, 0.01)
    volume = 100 / (1 + np.exp(dose - 45))
    row = {"roi_name": text, "source": text, "dose_source": text, "volume_cc": 12.345}
    row |= {"Dmean_Gy": 45.678, "Dmin_Gy": None, "HI": float("nan"), "V95%_%": 99.94}
    row |= {"flags": f"{text};second", "rx_gy": np.float64(46)}
    failure = dict.fromkeys(
        ("patient_id", "course_id", "stage", "item", "severity", "error", "file"), text
    )
    square = np.array([[1.0, 1.0], [9.0, 1.0], [9.0, 9.0]])
    picture = Picture(
        plane=AXIAL,
        place_mm=1.0,
        through=text,
        image=jpeg(np.zeros((8, 8), np.uint8)),
        width_mm=10,
        height_mm=10,
        outlines=(Outline(text, text, None, (square,)),),
        isodoses=((square,),),
    )
    verdict = dict.fromkeys(("item", "source", "verdict", "state", "time", "comment"), text)
    return CourseReport(
        patient_id=text,
        course_id=text,
        objects=(ObjectRow(text, text, text, text, (text, text), (text,)),),
        decisions=((text, text),),
        flags=(Notice(text, text, text), Notice("late", "error")),
        prescription=(PrescriptionLevel(text, 46, text, 23, text),),
        stages=(StageRow(text, text, text, 1.25), StageRow("dvh", "done")),
        curves=(Curve(text, dose, volume, (255, 255, 0), text, text),),
        metrics=(row, row | {"dose_source": "second", "roi_name": "Cord"}),
        failures=(failure,),
        provenance=((text, text),),
        inputs=((text, text),),
        checks={text: text},
        verdicts=(verdict | {"reviewer": text},),
        names=({"roi_name": text, "suggestions": [text], "conflicts": [text]},),
        agreement=({"roi_name_a": text, "source_a": text, "flags": text},),
        slices=Slices((picture,), (1.0,), 2.0, text, text, (text,)),
        index_href=text,
    )


def a_cohort(text: str) -> CohortReport:
    course = a_course(text)
    findings, verdicts = {"error": 2, "warning": 1}, {("accept", "current"): 1}
    lines = (
        CourseLine(text, text, text, course.stages, text, 46.0, text, (text,), findings, verdicts),
        CourseLine("P2", "C2", "", (StageRow("dvh", "failed", "why"),)),
    )
    dose = np.arange(0, 60, 0.5)
    curves = 100 / (1 + np.exp(dose - np.arange(20, 30)[:, None]))
    points = [Point(float(n**3), text, text, f"{text}/{n}") for n in range(8)]
    return CohortReport(
        text,
        lines,
        (CheckLine(text, {"error": 1}, 2),),
        (band_of(text, text, dose, curves), band_of(text, "", dose, curves[:2])),
        (Boxes("Dmean_Gy", (box_of(text, text, points),)),),
        course.failures,
        ((text, 3),),
        course.provenance,
    )


PAGES = {
    "course": lambda text: course_page(a_course(text)),
    "cohort": lambda t: cohort_page(a_cohort(t)),
}
