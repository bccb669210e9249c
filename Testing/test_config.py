"""The configuration: what is wrong with a file is said with its line and key, all at once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from RTPipelineLib.config import Config, defaults_yaml, load_config
from RTPipelineLib.config.keys import Accumulation, DvhKeys
from RTPipelineLib.config.section import METRIC, Section
from RTPipelineLib.config.structures import Derived, Expression, SixMargins
from RTPipelineLib.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    """Load a configuration from its text (or bytes)."""

    def load_text(text: str | bytes) -> Config:
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path)

    return load_text


@pytest.fixture
def complaints(load):
    """The lines of the error that a text causes."""

    def lines(text: str | bytes) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text)
        return str(caught.value).splitlines()

    return lines


# -- defaults -------------------------------------------------------------------------------------


def test_defaults_read_back_as_the_defaults(load):
    assert load(defaults_yaml()) == Config()


def test_defaults_name_every_key_with_a_comment_above_it():
    lines = defaults_yaml().splitlines()
    data = YAML(typ="safe", pure=True).load(StringIO(defaults_yaml()))

    def check(section: type[Section], values: dict) -> None:
        assert list(values) == list(section.model_fields)
        for key, field in section.model_fields.items():
            assert field.description
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                check(field.annotation, values[key])

    check(Config, data)
    for number, line in enumerate(lines):
        if line and not line.lstrip().startswith("#"):
            assert lines[number - 1].lstrip().startswith("#"), line
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("text", ["", "\n\n# only a comment\n", "---\n", "null\n", "\ufeff"])
def test_an_empty_file_means_the_defaults(load, text):
    assert load(text) == Config()


def test_no_file_means_the_defaults():
    assert load_config(None) == Config()


def test_a_section_whose_keys_are_all_commented_out_keeps_its_defaults(load):
    assert load("dvh:\n  # units: cGy\nrun:\n") == Config()
    assert load("dose:\n  eqd2:\n    alpha_beta:\n") == Config()


def test_values_reach_their_keys(load):
    config = load(
        "merge: ct-study\n"
        "max_days_between_plans: 90\n"
        "dose: {outside_dose: zero, eqd2: {enabled: true, alpha_beta: {structures: {Cord: 2}}}}\n"
        'dvh: {metrics: ["V20Gy[%]", "D0.5cc[Gy]", "DC5%[Gy]", "CV12Gy[cc]"], geud_a: {PTV: -10}}\n'
        "structures:\n"
        "  derived:\n"
        "  - {name: Ring, operation: subtract, sources: [PTV, CTV], margin_mm: {left: -2}}\n"
    )
    assert (config.merge, config.max_days_between_plans) == ("ct-study", 90)
    assert config.dose.outside_dose == "zero"
    assert config.dose.eqd2.alpha_beta.structures == {"Cord": 2.0}
    assert config.dose.eqd2.alpha_beta.target == 10.0
    assert config.dvh.metrics == ("V20Gy[%]", "D0.5cc[Gy]", "DC5%[Gy]", "CV12Gy[cc]")
    assert config.dvh.geud_a == {"PTV": -10.0}
    assert config.structures.derived[0].margin_mm == SixMargins(left=-2.0)


def test_the_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().dose.policy = "each-plan"


# -- what is wrong --------------------------------------------------------------------------------


def test_unknown_key_names_line_and_nearest_key(complaints):
    text = "\n" * 10 + "dose:\n  outside_dos: zero\n"
    assert complaints(text) == [
        "config.yaml, line 12: dose.outside_dos is not a key; did you mean outside_dose?"
    ]


def test_a_key_in_the_wrong_section_is_shown_its_place(complaints):
    assert complaints("outside_dose: zero\n") == [
        "config.yaml, line 1: outside_dose is not a key; did you mean dose.outside_dose?"
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dose: {policy: guess}", "one of: evidence, each-plan"),
        ("merge: plans", "did you mean plan?"),
        ("run: {jobs: two}", "run.jobs: expected a whole number, found 'two'"),
        ("run: {jobs: 1.5}", "run.jobs: expected a whole number, found 1.5"),
        ("run: {jobs: 0}", "run.jobs: expected a number from 1, found 0"),
        ("run: {jobs: true}", "run.jobs: expected a whole number, found true"),
        ("output: {csv: yes}", "output.csv: expected true or false, found 'yes'"),
        ("output: {csv: 1}", "output.csv: expected true or false, found 1"),
        ("run: {timeout_s: .inf}", "run.timeout_s: expected a finite number"),
        ("run: {timeout_s: -3}", "run.timeout_s: expected a number above 0, found -3"),
        ("run: {timeout_s: 2024-01-01}", "expected a number, found '2024-01-01'"),
        ("dvh: {metrics: V20Gy}", "dvh.metrics: expected a list"),
        ("dvh: [1, 2]", "dvh: expected keys and values, found a list"),
        ("dvh: {geud_a: {PTV: 0}}", "dvh.geud_a.PTV: must not be 0"),
        ("dvh: {dose_levels_gy: [20, 10, 20]}", "dvh.dose_levels_gy: 20.0 is listed twice"),
        ("dvh: {goals: none.yaml}", "dvh.goals: no file"),
        ("dvh: {goals: .}", "is a folder, not a file"),
        ("segmentation: {models: [{device: cpu}]}", "needs either task or folder"),
        ("segmentation: {models: [{task: total, device: cuda}]}", "'cuda' is not a device"),
        ("accumulate: [{patient: P1}]", "accumulate[1] needs the key courses"),
        ("output: {pseudonymise: [key.txt]}", "output.pseudonymise"),
        ("structures: {derived: [{name: A, operation: unoin, sources: [B]}]}", "mean union?"),
        ("structures: {derived: [{name: A, sources: [B], margin_mm: {lef: 1}}]}", "mean left?"),
        ("- a\n- b", "expected keys and values, found a list"),
        ("just words", "expected keys and values, found a single value"),
        (
            "run: {jobs: &x 1, memory_gb: *x}",
            "run.memory_gb: write the value again, not as an alias",
        ),
        ("dvh: &loop {goals: *loop}", "not as an alias"),
        ("run: {jobs: !!python/object:os.system 1}", "tags such as"),
        ("{[a, b]: 1}", "a key must be a word"),
        ("--- \nrun:\n---\nrun:\n", "is not valid YAML"),
        ("run: {jobs: 1", "is not valid YAML"),
        ('"\\ud800": 1', "a key must be a word"),
        ('dvh: {geud_a: {PTV: "\\ud800"}}', "this value cannot be read"),
        ("dvh: {metrics: [V20Gy[%]]}", "must stand in quotes"),
    ],
)
def test_mistakes_are_named(complaints, text, sentence):
    lines = complaints(text)
    assert len(lines) == 1
    assert lines[0].startswith("config.yaml, line ")
    assert sentence in lines[0]


def test_a_tab_is_called_a_tab(complaints):
    assert complaints("dose:\n\toutside_dose: zero\n") == [
        "config.yaml, line 2: a tab indents this line; YAML allows only spaces there"
    ]


def test_a_repeated_key_names_both_lines(complaints):
    assert complaints("run:\n  jobs: 1\n  jobs: 2\n") == [
        "config.yaml, line 3: run.jobs stands twice; the first is in line 2"
    ]


def test_all_mistakes_are_reported_at_once_in_the_order_of_lines(complaints):
    lines = complaints(
        "dvh:\n  units: mGy\nrun:\n  jobs: none\ndose:\n  polcy: x\n  polcy: y\noutput: {csv: 3}\n"
    )
    assert [line.split(":")[0] for line in lines] == [
        f"config.yaml, line {number}" for number in (2, 4, 6, 7, 8)
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_refused(complaints, encoding):
    text = "structures:\n  derived:\n  - {name: Prüf, sources: [A]}\n"
    (line,) = complaints(text.encode(encoding))
    assert "is not UTF-8 text; save it as UTF-8" in line


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_deep_nesting_is_an_error_and_no_crash(complaints):
    (line,) = complaints("[" * 2_000)
    assert "nested too deeply" in line


def test_structures_that_need_each_other(complaints):
    (line,) = complaints(
        "structures:\n  derived:\n"
        "  - {name: A, sources: [B]}\n  - {name: B, sources: [PTV], within: C}\n"
        "  - {name: C, sources: [A, BODY]}\n"
    )
    assert "need each other in a circle" in line
    circle = line.split(": ")[-1].split(" <- ")
    assert circle[0] == circle[-1]
    assert set(circle) == {"A", "B", "C"}


def test_sources_may_be_expressions(load, complaints):
    ring = (
        "structures:\n  derived:\n  - name: Ring\n    operation: subtract\n    sources:\n"
        "    - {sources: [PTV], margin_mm: 20, within: {sources: [BODY], margin_mm: -3}}\n"
        "    - {sources: [PTV], margin_mm: {left: 5}}\n"
    )
    config = load(ring)
    (derived,) = config.structures.derived
    assert derived.names == {"PTV", "BODY"}
    assert derived.sources[0].within == Expression(sources=("BODY",), margin_mm=-3.0)
    assert derived.sources[1].margin_mm == SixMargins(left=5.0)
    assert load(config.to_yaml()) == config
    (line,) = complaints(ring.replace("[PTV], margin_mm: 20", "[PTV], operation: xro"))
    assert "did you mean xor?" in line
    assert line.startswith("config.yaml, line 6: ")
    (line,) = complaints(ring.replace("[BODY]", "[Ring]"))
    assert "Ring <- Ring" in line


# -- DVH metrics ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("V20Gy", "did you mean V20Gy[%] or V20Gy[cc]?"),
        ("D95%", "did you mean D95%[Gy] or D95%[%]?"),
        ("v20gy[%]", "did you mean V20Gy[%]?"),
        ("V20Gy_%", "did you mean V20Gy"),
        ("mean dose", "examples: D95%[Gy]"),
        ("V20Gy[Gy]", "the result of V is in % or cc, not Gy"),
        ("V20cc[Gy]", "V takes a dose in Gy or %"),
        ("D20Gy[%]", "D takes a volume in % or cc"),
        ("D101%[Gy]", "between 0 % and 100 %"),
        ("D-5%[Gy]", "is not a DVH metric"),
    ],
)
def test_wrong_metrics_are_named_with_a_way_out(complaints, metric, hint):
    (line,) = complaints(f'dvh: {{metrics: ["{metric}"]}}')
    assert line.startswith("config.yaml, line 1: dvh.metrics[1]: ")
    assert hint in line


@given(
    kind=st.sampled_from(["D", "DC", "V", "CV"]),
    number=st.decimals(0, 100, places=2).map(lambda n: f"{n.normalize():f}"),
    relative=st.booleans(),
    result=st.integers(0, 1),
)
@settings(deadline=None, max_examples=60)
def test_every_metric_of_the_grammar_is_taken(kind, number, relative, result):
    cold_or_hot_dose = kind in ("D", "DC")
    unit = "%" if relative else "cc" if cold_or_hot_dose else "Gy"
    answer = ("Gy", "%")[result] if cold_or_hot_dose else ("%", "cc")[result]
    text = f"{kind}{number}{unit}[{answer}]"
    assert DvhKeys(metrics=(text,)).metrics == (text,)
    assert METRIC.fullmatch(text).groups() == (kind, number, unit, answer)


# -- the configuration as used --------------------------------------------------------------------

_NAMES = st.text(min_size=1, max_size=12).filter(
    lambda t: t.encode("utf-8", "ignore").decode() == t
)


@given(
    names=st.lists(_NAMES, min_size=2, max_size=4, unique=True),
    levels=st.lists(st.floats(1e-3, 1e6), max_size=4, unique=True),
    ratio=st.floats(1e-9, 1e12),
    margin=st.one_of(st.floats(-50, 50), st.builds(SixMargins, left=st.floats(-50, 50))),
)
@settings(deadline=None, max_examples=60)
def test_what_was_used_reads_back_as_the_same(tmp_path_factory, names, levels, ratio, margin):
    first = Config()
    derived = Derived(name=names[0], sources=(f"{names[1]} source",), margin_mm=margin)
    config = first.model_copy(
        update={
            "accumulate": (Accumulation(patient=names[0], courses=tuple(names)),),
            "structures": first.structures.model_copy(update={"derived": (derived,)}),
            "dvh": first.dvh.model_copy(
                update={
                    "dose_levels_gy": tuple(levels),
                    "metrics": ("V20Gy[%]",),
                    "geud_a": {name: ratio for name in names if name.isprintable()},
                }
            ),
        }
    )
    path = tmp_path_factory.mktemp("used") / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(path) == config


GOAL = """- {structure: Heart, metric: "Dmean[Gy]", operator: "<", limit: 26}\n"""


def test_paths_count_from_the_folder_of_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "my study"
    folder.mkdir()
    (folder / "goals.yaml").write_text(GOAL)
    (folder / "config.yaml").write_text("dvh: {goals: goals.yaml}\n")
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("my study/config.yaml"))
    assert config.dvh.goals == folder / "goals.yaml"
    used = tmp_path / "used.yaml"
    used.write_text(config.to_yaml())
    assert load_config(used) == config


# -- hashes ---------------------------------------------------------------------------------------


def test_the_hash_follows_only_what_was_asked_for(load):
    before, after = Config(), load("dvh: {units: cGy}\nstructures: {end_caps: none}\n")
    assert before.section_hash("dose", "prescription") == after.section_hash("prescription", "dose")
    assert before.section_hash("dvh") != after.section_hash("dvh")
    assert before.section_hash("structures.end_caps") != after.section_hash("structures.end_caps")
    assert before.section_hash("structures.voxelise") == after.section_hash("structures.voxelise")
    assert len(before.section_hash()) == hashlib.sha256().digest_size * 2


def test_a_file_counts_by_its_content(tmp_path, load):
    goals = tmp_path / "goals.yaml"
    goals.write_text(GOAL)
    config = load("dvh: {goals: goals.yaml}\n")
    first = config.section_hash("dvh")
    goals.write_text(GOAL + "# changed\n")
    assert config.section_hash("dvh") != first
    goals.write_text(GOAL)
    moved = tmp_path / "other.yaml"
    goals.rename(moved)
    assert load("dvh: {goals: other.yaml}\n").section_hash("dvh") == first
    with pytest.raises(ConfigError, match="cannot be read"):
        config.section_hash("dvh")


def test_the_hash_of_no_section_is_a_mistake_in_the_program():
    with pytest.raises(KeyError, match="dhv"):
        Config().section_hash("dhv")


def test_the_hash_is_the_same_in_every_process():
    code = "from RTPipelineLib.config import Config; print(Config().section_hash('dvh', 'dose'))"
    command = [sys.executable, "-c", code]
    root = Path(__file__).resolve().parent.parent
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert found.stdout.strip() == Config().section_hash("dose", "dvh")
