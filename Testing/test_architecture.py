"""The library keeps the rules of the house, and the rules catch who breaks them."""

from __future__ import annotations

import graphlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from house_rules import HEAVY, PACKAGE, ROOMS, breaches, machine_paths

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / PACKAGE).rglob("*.py"))
LARGE_BYTES = 1024 * 1024


def tracked_files() -> list[Path]:
    """Files that git knows; skips where this is no work tree."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git work tree")
    paths = [ROOT / name for name in listing.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


# -- the library ----------------------------------------------------------------------------------


def test_the_library_keeps_the_rules() -> None:
    assert len(MODULES) > 20
    found = [
        breach
        for path in MODULES
        for breach in breaches(path.relative_to(ROOT / PACKAGE).as_posix(), path.read_text("utf-8"))
    ]
    assert found == []


def test_the_rooms_form_no_circle() -> None:
    order = list(graphlib.TopologicalSorter(ROOMS).static_order())
    assert order.index("structures") < order.index("dvh") < order.index("quality")
    assert order.index("quality") < order.index("report") < order.index("stages")
    assert order.index("stages") < order.index("run") < order.index("cli")
    assert set().union(*ROOMS.values()) <= set(ROOMS)


def test_no_large_file_is_tracked() -> None:
    sizes = {str(path): path.stat().st_size for path in tracked_files()}
    assert sizes
    assert {path: size for path, size in sizes.items() if size > LARGE_BYTES} == {}


def test_no_path_of_one_machine_is_tracked() -> None:
    found = {}
    for path in tracked_files():
        try:
            paths = machine_paths(path.read_text("utf-8"))
        except UnicodeDecodeError:
            continue  # a picture or the like
        if paths:
            found[str(path.relative_to(ROOT))] = paths
    assert found == {}


# -- start-up -------------------------------------------------------------------------------------


def imported_by(statement: str, absent: Iterable[str] = ()) -> set[str]:
    """Top-level modules in memory after a statement, in a fresh interpreter without `absent`."""
    code = (
        "import json, sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(absent)!r}))\n"  # None: cannot be imported
        f"try:\n    {statement}\nexcept SystemExit:\n    pass\n"
        "names = {name.split('.')[0] for name, module in sys.modules.items() if module}\n"
        "print(json.dumps(sorted(names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


SLOW = HEAVY | {"scipy", "pydicom", "pydantic", "ruamel", "psutil", "numpy"}


@pytest.mark.parametrize(
    "statement",
    ["import RTPipelineLib", "from RTPipelineLib.cli import main; main(['--help'])"],
    ids=["import", "help"],
)
def test_starting_imports_nothing_slow(statement: str) -> None:
    loaded = imported_by(statement)
    assert PACKAGE in loaded
    assert loaded & SLOW == set()


def test_that_test_would_see_a_slow_import() -> None:
    assert "numpy" in imported_by("import RTPipelineLib.geometry")


@pytest.mark.parametrize("room", ["dvh", "structures", "dose", "dicom", "course"])
def test_loading_and_dvh_need_only_what_slicer_ships(room: str) -> None:
    """Every module on the path that works in Slicer before anything is installed."""
    paths = [path for path in MODULES if path.relative_to(ROOT / PACKAGE).parts[0] == room]
    paths = paths or [ROOT / PACKAGE / f"{room}.py"]
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in paths
    ]
    not_in_slicer = {"pandas", "pyarrow", "pydantic", "ruamel", "psutil", "tqdm", "numba"}
    assert PACKAGE in imported_by("import " + ", ".join(names), absent=not_in_slicer)


def test_that_test_would_see_a_package_that_slicer_lacks() -> None:
    with pytest.raises(AssertionError, match="pydantic"):
        imported_by("import RTPipelineLib.config", absent=["pydantic"])


# -- the rules themselves -------------------------------------------------------------------------

BAD = [
    # rooms
    ("geometry.py", "from .model import Volume", "geometry must not import model"),
    ("model.py", "from . import platform", "model must not import platform"),
    ("structures/x.py", "from ..dvh.engine import compute_dvh", "must not import dvh"),
    ("dvh/x.py", "from ..quality import checks", "must not import quality"),
    ("dvh/x.py", "def f():\n    from ..stages import get_stage", "must not import stages"),
    ("quality/x.py", "import RTPipelineLib.report.tables", "must not import report"),
    ("dicom/x.py", "from RTPipelineLib import course", "must not import course"),
    ("dicom/deep/x.py", "from ...course import Course", "must not import course"),
    ("stages/x.py", "from ..run.local import LocalEngine", "must not import run"),
    ("report/x.py", "from ..cli import main", "must not import cli"),
    ("course.py", "from . import stages", "must not import stages"),
    ("dose/x.py", "from ..structures import masks", "must not import structures"),
    ("attic/x.py", "x = 1", "no room of the house"),
    # packages
    ("course.py", "import slicer", "outside scene/"),
    ("stages/x.py", "def f():\n    from vtk import vtkImageData", "outside scene/"),
    ("report/x.py", "import qt", "outside scene/"),
    ("report/x.py", "import pandas as pd", "module scope"),
    ("stages/x.py", "try:\n    import SimpleITK\nexcept ImportError:\n    pass", "module scope"),
    ("dvh/x.py", "if True:\n    from numba import njit", "module scope"),
    ("segmentation/x.py", "class A:\n    import torch", "module scope"),
    ("dvh/x.py", "def f():\n    import pandas", "dvh must do without pandas"),
    ("geometry.py", "import scipy", "geometry must do without scipy"),
    ("dicom/x.py", "def f():\n    import tqdm", "dicom must do without tqdm"),
    # operating system
    ("run/x.py", "import fcntl", "platform/"),
    ("run/x.py", "def f():\n    import msvcrt", "platform/"),
    ("run/x.py", "import os\nos.killpg(1, 9)", "platform/"),
    ("run/x.py", "from os import fork", "platform/"),
    ("run/x.py", "import signal\nx = signal.SIGKILL", "platform/"),
    ("run/x.py", "import subprocess\nsubprocess.run([], start_new_session=True)", "platform/"),
    ("run/x.py", "import subprocess\nsubprocess.run('ls', shell=True)", "shell=True"),
    ("run/x.py", "import subprocess\nsubprocess.run('ls', shell=x)", "shell=True"),
    ("run/x.py", "import os\nos.system('ls')", "shell"),
    # environment
    ("run/x.py", "import os\nos.environ['A'] = '1'", "os.environ is changed"),
    ("run/x.py", "import os\ndel os.environ['A']", "os.environ is changed"),
    ("run/x.py", "import os\n(a, os.environ['A']) = 1, '1'", "os.environ is changed"),
    ("run/x.py", "import os\nos.environ |= {}", "os.environ is replaced"),
    ("run/x.py", "import os\nos.environ.update(A='1')", "os.environ.update"),
    ("run/x.py", "import os\nos.environ.setdefault('A', '1')", "os.environ.setdefault"),
    ("run/x.py", "import os\nos.putenv('A', '1')", "os.putenv"),
    ("run/x.py", "import os\nos.chdir('x')", "os.chdir"),
    # errors
    ("run/x.py", "try:\n    f()\nexcept Exception:\n    pass", "swallowed"),
    (
        "run/x.py",
        "for i in x:\n    try:\n        f()\n    except Exception:\n        continue",
        "swall",
    ),
    ("run/x.py", "try:\n    f()\nexcept (ValueError, BaseException) as e:\n    ...", "swallowed"),
    ("run/x.py", "try:\n    f()\nexcept:\n    g()", "bare except"),
    (
        "run/x.py",
        "from contextlib import suppress\nwith suppress(Exception):\n    f()",
        "suppressed",
    ),
    # state
    ("run/x.py", "def f():\n    global cache\n    cache = 1", "module state"),
    ("run/x.py", "import sys\nsys.modules['a'] = None", "sys.modules"),
    ("run/x.py", "import sys\nsys.path.insert(0, 'x')", "sys.path"),
    ("run/x.py", "import pydicom\npydicom.dicomio.read_file = None", "monkey-patch"),
    ("run/x.py", "import numpy as np\nsetattr(np, 'bool', bool)", "monkey-patch"),
    # signatures
    ("run/x.py", "from typing import Any\ndef f(x: dict[str, Any]) -> None: ...", "Any"),
    ("run/x.py", "import typing\ndef f(*x) -> typing.Any: ...", "Any"),
    # files
    ("dvh/x.py", "def f(p):\n    with open(p) as g:\n        return g.read()", "open()"),
    ("dose/x.py", "def f(p):\n    return p.read_text()", "read_text()"),
    ("quality/x.py", "import numpy as np\ndef f(p):\n    return np.load(p)", "load()"),
    ("structures/x.py", "from pathlib import Path", "touches no files"),
    (
        "radiomics/x.py",
        "def f(p):\n    import SimpleITK\n    SimpleITK.ReadImage(p)",
        "ReadImage()",
    ),
    ("dvh/x.py", "import pydicom", "touches no files"),
]


@pytest.mark.parametrize(("path", "source", "expected"), BAD)
def test_every_rule_catches_its_breach(path: str, source: str, expected: str) -> None:
    found = breaches(path, source)
    assert any(expected in breach for breach in found), found
    assert all(breach.startswith(f"{path}:") for breach in found)


GOOD = [
    ("model.py", "from .geometry import Grid\nimport numpy as np"),
    ("dicom/x.py", "from .headers import kind_of\nfrom .. import __version__\nimport pydicom"),
    ("dvh/x.py", "from ..structures import sections\ndef f():\n    import numba"),
    (
        "report/x.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas\n"
        "def f() -> pandas.DataFrame:\n    import pandas",
    ),
    ("platform/x.py", "import os\nos.killpg(1, 9)\ndef f():\n    import fcntl"),
    ("scene/x.py", "import slicer\nimport vtk\nfrom ..stages import get_stage"),
    ("run/x.py", "import subprocess\nsubprocess.run(['ls'], shell=False)"),
    (
        "run/x.py",
        "import os\nx = {**os.environ, 'A': '1'}\ny = os.environ.get('B')\nx.update(C='')",
    ),
    ("run/x.py", "try:\n    f()\nexcept Exception as e:\n    log(e)"),
    ("run/x.py", "try:\n    f()\nexcept ValueError:\n    pass"),
    ("run/x.py", "from typing import Any\ndef _f(x: Any) -> None: ..."),
    ("stages/x.py", "from pathlib import Path\ndef f(p):\n    return Path(p).read_text()"),
    ("dvh/x.py", "class A:\n    def f(self):\n        self.os = 1"),
    ("run/x.py", "import sys\nx = sys.path[0]\nself.y = 2"),
    ("__main__.py", "from .cli import main"),
    ("__init__.py", "def f():\n    from .dvh.engine import compute_dvh"),
]


@pytest.mark.parametrize(("path", "source"), GOOD)
def test_no_rule_cries_wolf(path: str, source: str) -> None:
    assert breaches(path, source) == []


@pytest.mark.parametrize("folder", ["tmp", "work", "home", "root", "opt", "Users"])
def test_machine_paths_are_seen(folder: str) -> None:
    assert machine_paths(f'x = "/{folder}/someone/x"')
    assert machine_paths(f"see /{folder}/x")
    assert not machine_paths(f"a relative {folder}/x, ./{folder}/x, ../{folder}/x")
    assert not machine_paths(f"https://example.org/{folder}/x")


def test_windows_machine_paths_are_seen() -> None:
    assert machine_paths("C:" + r"\Users\someone")
    assert not machine_paths(r"C:\path")
