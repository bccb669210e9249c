"""The validation passes here, and fails when an error is built in."""

from dataclasses import replace

import numpy as np
import pytest

from RTPipelineLib.cli import main
from RTPipelineLib.commands import validate
from RTPipelineLib.structures.margins import Margins
from RTPipelineLib.validation import cases


def failed(found):
    found = list(found)
    assert len(found) > 1
    return [case.name for case in found if not case.passed]


def test_the_command_passes_and_writes_its_page(tmp_path, capsys):
    page = tmp_path / "validation.html"
    assert main(["validate", "-o", str(page)]) == 0
    shown = capsys.readouterr().out
    for group in ("DVH", "Orientation", "Margins", "Sum of doses", "EQD2", "Synthetic patients"):
        assert group in shown
    text = page.read_text(encoding="utf-8")
    assert "All cases passed" in text and "Signature" in text and "pydicom" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_dose_shifted_by_half_a_voxel_fails(tmp_path, monkeypatch):
    read = cases.read_dose

    def shifted(path):
        dose = read(path)
        grid = dose.grid
        moved = replace(grid, origin_mm=grid.origin_mm + grid.spacing_mm / 2)
        return replace(dose, grid=moved)

    monkeypatch.setattr(cases, "read_dose", shifted)
    names = failed(cases.dvh_cases(tmp_path))
    assert any("Dmean" in name for name in names)
    assert not any("volume" in name for name in names)
    assert failed(cases.orientation_cases(tmp_path))


def test_a_margin_off_by_a_voxel_fails(monkeypatch):
    grow = cases.add_margin

    def larger(mask, margins):
        sides = {name: getattr(margins, name) + 1.0 for name in vars(margins)}
        return grow(mask, Margins(**sides))

    monkeypatch.setattr(cases, "add_margin", larger)
    assert len(failed(cases.margin_cases())) == 18


def test_two_directions_of_a_margin_exchanged_fail(monkeypatch):
    grow = cases.add_margin
    monkeypatch.setattr(cases, "add_margin", lambda mask, margins: grow(mask, margins.mirrored()))
    assert len(failed(cases.margin_cases())) == 6


def test_what_is_no_number_fails():
    case = cases.Case("DVH", "x", 1.0, float("nan"), 1.0, "Gy", "")
    assert not case.passed


def test_a_failing_case_ends_with_status_3_and_says_what_was_found(monkeypatch, capsys, tmp_path):
    wrong = cases.Case("EQD2", "20 Gy in 30", 14.667, 20.0, 1e-9, "Gy", "by hand")
    monkeypatch.setattr(cases, "GROUPS", (lambda folder: iter([wrong]),))
    page = tmp_path / "page.html"
    assert main(["validate", "-o", str(page)]) == 3
    assert "FAILED 20 Gy in 30: 20 Gy, expected 14.667" in capsys.readouterr().out
    assert "1 case failed" in page.read_text(encoding="utf-8")
    assert validate._about()["RT Pipeline"]


@pytest.mark.parametrize("direction", cases._POSITIONS.values())
def test_turned_doses_hold_the_same_voxels(direction):
    case = cases.AnalyticCase(cases.Shape.CONE, cases.Gradient.SI, 2.0, 3.0)
    dose = case.dose()
    turned = cases._turned(dose, direction)
    point = dose.grid.to_lps(np.array([2.0, 3.0, 4.0]))
    i, j, k = np.round(turned.grid.to_index(point)).astype(int)
    assert turned.array_gy[k, j, i] == dose.array_gy[4, 3, 2]
