"""Stage `structures` with a dose: what disagreement costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from RTPipelineLib.cli import main
from Testing.rt_export import Export


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path)


def run(export: Export, config: str, status: int = 0) -> pd.DataFrame:
    """All stages; the metrics of the course."""
    path = export.root / "c.yaml"
    path.write_text(config, encoding="utf-8")
    arguments = ["run", str(export.root / "dicom"), str(export.out), "--config", str(path)]
    assert main([*arguments, "--quiet"]) == status
    return pd.read_parquet(export.out / "results" / "dvh_metrics.parquet")


def test_the_dose_of_what_a_program_drew_is_compared(export):
    sets = export.structures(rois={"LT LUNG": 3.0})
    other = export.structures(rois={"Lung_L": 4.0})
    path = export.root / "dicom" / f"{other}.dcm"
    ds = pydicom.dcmread(path)
    ds.StructureSetROISequence[0].ROIGenerationAlgorithm = "AUTOMATIC"
    ds.save_as(path)
    plan = export.plan("A", 25, structures=sets)
    ramp = np.broadcast_to(np.arange(6) * 10.0, (4, 5, 6)).copy()
    export.dose(plan, ramp)
    table = run(export, "{}")
    found = pd.read_parquet(export.out / "results" / "agreement_dose.parquet")
    (row,) = found.to_dict("records")
    assert (row["roi_name_a"], row["roi_name_b"]) == ("LT LUNG", "Lung_L")
    assert (row["structure_set_uid_a"], row["structure_set_uid_b"]) == (sets, other)
    own = table.set_index("roi_name").loc["LT LUNG"]
    # Both boxes have the same centre, so that only the spread of the dose differs.
    assert row["Dmean_Gy_difference"] == pytest.approx(0, abs=0.02)
    assert row["Dmax_Gy_difference"] < -1 and row["Dmin_Gy_difference"] > 1
    assert row["volume_cc_difference"] == pytest.approx(own.volume_cc * (1 - 16 / 9), rel=1e-3)
    assert "Lung_L" not in set(table.roi_name)
    agreement = pd.read_parquet(export.out / "results" / "agreement.parquet")
    assert agreement.dice.iloc[0] == pytest.approx(2 * 9 / 25, abs=0.03)
