"""The rules of the house, read from the source alone: who may import whom, and what nobody may do.

`breaches(path, source)` gives one line for every breach in a module of RTPipelineLib, with `path`
relative to that folder. `test_architecture.py` applies it to the library and proves each rule on a
small bad example.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

PACKAGE = "RTPipelineLib"

# Room -> the rooms whose modules it may import. `""` is the package itself (its public names).
_BASE = {"errors", "geometry", "model"}
_FACTS = _BASE | {"platform", "resample", "dicom", "course", "linking", "overrides", "config"}
_ARITHMETIC = {"structures", "dose", "dvh", "radiomics", "quality"}
_STAGES = _FACTS | _ARITHMETIC | {"segmentation", "crosscheck", "report", "review"}
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "messages": set(),
    "geometry": set(),
    "model": {"errors", "geometry"},
    "platform": {"errors"},
    "resample": _BASE,
    "kernels": set(),
    # The words of ROI names, the filters and classes of features.
    "config": _BASE | {"platform", "structures", "radiomics"},
    "dicom": _BASE | {"platform"},
    "course": _BASE | {"platform", "dicom"},
    "linking": _BASE | {"dicom", "course"},
    "overrides": _BASE | {"platform", "course", "linking", "dose", "config"},
    "structures": _BASE | {"resample", "kernels"},
    "dose": _BASE | {"resample"},
    "dvh": _BASE | {"resample", "kernels", "structures"},
    "radiomics": _BASE | {"resample", "structures"},
    "quality": _BASE | {"resample", "structures", "dose", "dvh"},
    "segmentation": _BASE | {"platform", "resample", "structures", "config", "dicom"},
    "crosscheck": _BASE | {"platform"},
    "report": _FACTS | _ARITHMETIC | {"review"},
    "review": _BASE | {"platform", "course"},
    "review_agreement": {"review"},
    "phantoms": _BASE | {"platform", "dicom"},
    "stages": _STAGES,
    "run": _STAGES | {"stages", "messages", "review_agreement"},
    "cohort": _STAGES | {"stages", "run"},
    "validation": _STAGES | {"stages", "run", "phantoms"},
    "commands": _STAGES | {"stages", "run", "phantoms", "validation"},
    "cli": {"errors", "messages", "commands"},
    "scene": _STAGES | {"stages", "run", "cli", "cohort", "phantoms"},
    "": _STAGES,
    "__main__": {"cli"},
}

# Packages outside the standard library that a room may import at all; other rooms are free.
_LIGHT = {"numpy", "scipy", "SimpleITK", "pydicom"}
THIRD_PARTY: dict[str, set[str]] = {
    "geometry": {"numpy"},
    "model": {"numpy"},
    "errors": set(),
    "resample": {"numpy", "scipy", "SimpleITK", "numba"},
    "kernels": {"numpy", "numba"},
    "dicom": _LIGHT | {"gdcm", "jpeg_ls", "highdicom", "dicomanonymizer"},
    **{room: {"numpy", "scipy", "SimpleITK", "numba"} for room in ("structures", "dose", "dvh")},
}

# Slow to import or not everywhere: only inside the function that needs them.
HEAVY = {
    *("torch", "totalsegmentator", "nnunetv2", "radiomics", "pictologics", "numba", "snakemake"),
    *("pandas", "pyarrow", "matplotlib", "plotly", "xlsxwriter", "openpyxl", "SimpleITK"),
    *("skimage", "highdicom", "dicomanonymizer", "dicompylercore", "plastimatch"),
}
SLICER = {"slicer", "qt", "ctk", "vtk", "mrml", "PythonQt", "DICOMLib"}

POSIX_MODULES = {"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog", "posix"}
WINDOWS_MODULES = {"msvcrt", "winreg", "winsound", "nt"}
POSIX_NAMES = {
    "os": {
        *(
            "fork",
            "forkpty",
            "killpg",
            "setsid",
            "getsid",
            "setpgid",
            "getpgid",
            "setpgrp",
            "mkfifo",
        ),
        *("getuid", "geteuid", "getgid", "setuid", "chown", "nice", "sched_getaffinity", "uname"),
        *("WNOHANG", "waitpid", "wait", "O_NOFOLLOW", "O_DIRECTORY", "statvfs", "getloadavg"),
    },
    "signal": {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "alarm", "setitimer", "pause"},
    "time": {"tzset"},
    "socket": {"AF_UNIX"},
}
POSIX_KEYWORDS = {"preexec_fn", "start_new_session", "process_group"}

FILE_MODULES = {"os", "io", "pathlib", "shutil", "tempfile", "sqlite3", "glob", "pydicom"}
FILE_CALLS = {
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "iterdir"),
    *("ReadImage", "WriteImage", "dcmread", "dcmwrite", "memmap", "fromfile", "tofile", "loadtxt"),
    *("genfromtxt", "savetxt", "savez", "savez_compressed", "read_csv", "to_csv", "read_parquet"),
    *("to_parquet", "imread", "imsave"),
}
NUMPY_FILE_CALLS = {"load", "save"}
ENVIRON_CHANGES = {"update", "setdefault", "pop", "popitem", "clear", "__setitem__", "__delitem__"}

# Programs that run in processes of their own, where a name that a package lost may come back.
PATCHING_CHILDREN = {"crosscheck/dicompyler_child.py"}

# Scripts that an application starts by their path, outside any package.
STARTED_BY_SLICER = {"scene/batch.py"}

_MACHINE_PATH = re.compile(
    r"(?<![\w./~$}-])(/(tmp|work|root|home|opt|mnt|Users|var/folders)/\w|[A-Z]:\\+Users\\+\w)"
)


@dataclass(frozen=True)
class _Module:
    path: PurePosixPath
    tree: ast.Module

    @property
    def room(self) -> str:
        first = self.path.parts[0]
        return "" if first == "__init__.py" else first.removesuffix(".py")

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def for_types(self) -> set[int]:
        """Nodes below `if TYPE_CHECKING`."""
        blocks = [node for node in self.nodes if _is_type_checking(node)]
        return {id(inner) for node in blocks for part in node.body for inner in ast.walk(part)}

    @cached_property
    def late(self) -> set[int]:
        """Nodes that importing the module does not run: in functions and for types only."""
        functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        blocks = [node for node in self.nodes if isinstance(node, functions)]
        return self.for_types.union(id(inner) for node in blocks for inner in ast.walk(node))

    @cached_property
    def imports(self) -> list[tuple[ast.stmt, str, str]]:
        """(statement, absolute module, imported name or '') of every import."""
        package = [PACKAGE, *self.path.parts[:-1]]
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node, alias.name, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                if node.level:
                    above = package[: len(package) - node.level + 1]
                    module = ".".join([*above, module] if module else above)
                found += [(node, module, alias.name) for alias in node.names]
        return found


def breaches(path: str, source: str) -> list[str]:
    """`path:line: what is wrong` for every breach in one module of the library."""
    module = _Module(PurePosixPath(path), ast.parse(source))
    rules = (
        _rooms,
        _foreign_packages,
        _operating_system,
        _shell,
        _environment,
        _swallowed,
        _state,
        _patches,
        _any_in_public,
        _files_in_arithmetic,
    )
    found = {(node.lineno, text) for rule in rules for node, text in rule(module)}
    return [f"{path}:{line}: {text}" for line, text in sorted(found)]


def machine_paths(text: str) -> list[str]:
    """Absolute paths of one machine in a text of any kind."""
    return [match[0] for match in _MACHINE_PATH.finditer(text)]


_Found = Iterator[tuple[ast.AST, str]]


def _rooms(module: _Module) -> _Found:
    if module.room not in ROOMS:
        yield (
            module.tree.body[0] if module.tree.body else ast.Pass(lineno=1),
            (f"{module.room or 'the package'} is no room of the house (Testing/house_rules.py)"),
        )
        return
    for node, name, imported in module.imports:
        parts = name.split(".")
        if parts[0] != PACKAGE:
            continue
        room = parts[1] if len(parts) > 1 else imported
        if room in {module.room, "__version__"} or room in ROOMS[module.room]:
            continue
        yield node, f"{module.room or 'the package'} must not import {room or 'the package'}"


def _foreign_packages(module: _Module) -> _Found:
    allowed = THIRD_PARTY.get(module.room)
    for node, name, _ in module.imports:
        top = name.split(".")[0]
        if top in SLICER and module.room != "scene":
            yield node, f"{top} is imported outside scene/"
        elif top in HEAVY and id(node) not in module.late:
            yield node, f"{top} is imported at module scope"
        elif (
            allowed is not None
            and top not in {PACKAGE, "__future__"} | allowed
            and top not in sys.stdlib_module_names
            and id(node) not in module.for_types
        ):
            yield node, f"{module.room} must do without {top}"


def _operating_system(module: _Module) -> _Found:
    if module.room == "platform":
        return
    for node, name, imported in module.imports:
        if name in POSIX_MODULES | WINDOWS_MODULES:
            yield node, f"{name} belongs into platform/"
        if imported in POSIX_NAMES.get(name, ()):
            yield node, f"{name}.{imported} belongs into platform/"
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in POSIX_NAMES.get(node.value.id, ()):
                yield node, f"{node.value.id}.{node.attr} belongs into platform/"
        elif isinstance(node, ast.keyword) and node.arg in POSIX_KEYWORDS:
            yield node.value, f"{node.arg}= belongs into platform/"


def _shell(module: _Module) -> _Found:
    for call in _calls(module):
        if any(
            keyword.arg == "shell" and getattr(keyword.value, "value", True) is not False
            for keyword in call.keywords
        ):
            yield call, "shell=True"
        if _dotted(call.func) in {"os.system", "os.popen", "subprocess.getoutput"}:
            yield call, f"{_dotted(call.func)} runs a shell"


def _environment(module: _Module) -> _Found:
    for target in _targets(module):
        if isinstance(target, ast.Subscript) and _dotted(target.value) == "os.environ":
            yield target, "os.environ is changed; give a child its own by env="
        elif _dotted(target) == "os.environ":
            yield target, "os.environ is replaced"
    for call in _calls(module):
        name = _dotted(call.func)
        if name in {"os.putenv", "os.unsetenv"} | {f"os.environ.{n}" for n in ENVIRON_CHANGES}:
            yield call, f"{name} changes the environment; give a child its own by env="
        if name == "os.chdir":
            yield call, "os.chdir changes the whole process; give a child its own by cwd="


def _swallowed(module: _Module) -> _Found:
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield node, "bare except"
            elif _is_broad(node.type) and all(_does_nothing(line) for line in node.body):
                yield node, "all exceptions are swallowed"
    for call in _calls(module):
        name = _dotted(call.func)
        if name in {"suppress", "contextlib.suppress"} and any(map(_is_broad, call.args)):
            yield call, "all exceptions are suppressed"


def _state(module: _Module) -> _Found:
    for node in module.nodes:
        if isinstance(node, ast.Global):
            yield node, "module state (global)"
        elif isinstance(node, ast.Attribute) and _dotted(node) == "sys.modules":
            yield node, "sys.modules is touched"
    for call in _calls(module):
        changes = re.fullmatch(r"sys\.path\.(insert|append|extend|remove)", _dotted(call.func))
        if changes and str(module.path) not in STARTED_BY_SLICER:
            yield call, "sys.path is changed"


def _patches(module: _Module) -> _Found:
    if str(module.path) in PATCHING_CHILDREN:
        return
    names = {
        (alias.asname or alias.name).split(".")[0]
        for node in module.nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    for target in _targets(module):
        root = _dotted(target).split(".")
        if isinstance(target, ast.Attribute) and root[0] in names:
            yield target, f"{_dotted(target)} belongs to somebody else (monkey-patch)"
    for call in _calls(module):
        if _dotted(call.func) == "setattr" and call.args and _dotted(call.args[0]) in names:
            yield call, f"setattr on {_dotted(call.args[0])} (monkey-patch)"


def _any_in_public(module: _Module) -> _Found:
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            arguments += [arg for arg in (node.args.vararg, node.args.kwarg) if arg is not None]
            for annotation in [*(arg.annotation for arg in arguments), node.returns]:
                if annotation is not None and re.search(r"\bAny\b", ast.unparse(annotation)):
                    yield annotation, f"Any in the signature of {node.name}"


def _files_in_arithmetic(module: _Module) -> _Found:
    if module.room not in _ARITHMETIC:
        return
    for node, name, _ in module.imports:
        if name.split(".")[0] in FILE_MODULES and id(node) not in module.for_types:
            yield node, f"{name} in {module.room}: arithmetic touches no files"
    for call in _calls(module):
        name = _dotted(call.func)
        last = call.func.attr if isinstance(call.func, ast.Attribute) else name
        numpy_file = last in NUMPY_FILE_CALLS and name.split(".")[0] in {"np", "numpy"}
        if last in FILE_CALLS or numpy_file:
            yield call, f"{last}() in {module.room}: arithmetic touches no files"


def _calls(module: _Module) -> Iterator[ast.Call]:
    return (node for node in module.nodes if isinstance(node, ast.Call))


def _targets(module: _Module) -> Iterator[ast.expr]:
    for node in module.nodes:
        if isinstance(node, ast.Assign | ast.Delete):
            yield from _flat(node.targets)
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            yield node.target


def _flat(targets: Iterable[ast.expr]) -> Iterator[ast.expr]:
    for target in targets:
        if isinstance(target, ast.Tuple | ast.List):
            yield from _flat(target.elts)
        else:
            yield target


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of such an expression, else ''."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def _is_broad(node: ast.expr) -> bool:
    kinds = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(_dotted(kind) in {"Exception", "BaseException"} for kind in kinds)


def _does_nothing(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass | ast.Continue) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and _dotted(node.test).endswith("TYPE_CHECKING")
