import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt.config import CollectParams, FeatureParams, ReleaseParams, TrainParams, check_all, load
from pageopt.errors import ConfigError, SourceError
from pageopt.presets import SCALES, SOURCES, configure
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[1]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A project as in the repository, with some logs in own/."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    (tmp_path / "data" / "inbox").mkdir(parents=True)
    (tmp_path / "own" / "pages").mkdir(parents=True)
    (tmp_path / "own" / "pages" / "a.parquet").touch()
    return Workspace(tmp_path)


def values(path: Path) -> dict:
    return YAML(typ="safe").load(path.read_text())


def keys(path: Path) -> set[tuple[str, ...]]:
    def flat(content, prefix):
        for key, value in content.items():
            yield from flat(value, (*prefix, key)) if isinstance(value, dict) else [(*prefix, key)]

    return set(flat(values(path), ()))


def test_all_sources_set_the_same_keys():
    first, *others = (keys(ROOT / "presets" / f"{source}.yaml") for source in SOURCES)
    assert all(other == first for other in others)


def test_the_simulators_file_holds_what_the_repositorys_params_hold(workspace, capsys):
    configure(workspace, preset="demo", source="simulator", page="item")
    assert workspace.params.read_text() == (ROOT / "params.yaml").read_text()
    assert capsys.readouterr().out == "params.yaml: nothing to change\n"


@pytest.mark.parametrize("preset", SCALES)
@pytest.mark.parametrize("source", SOURCES)
def test_every_scale_goes_with_every_source(workspace, preset, source):
    configure(workspace, preset=preset, source=source, data="own" if source == "parquet" else "")
    check_all(workspace.params)
    collect, release = load(workspace.params, CollectParams), load(workspace.params, ReleaseParams)
    assert collect.source == source
    assert release.preset == preset
    own = values(ROOT / "presets" / f"{source}.yaml")
    scale = f"-{preset}" if source == "simulator" and preset != "demo" else ""
    assert release.model_name == own["release"]["model_name"] + scale
    if source == "obd":
        assert load(workspace.params, TrainParams).batch_size == own["train"]["batch_size"]


@pytest.mark.parametrize("source", ["simulator", "parquet"])
@pytest.mark.parametrize("preset", SCALES)
def test_leaving_obd_takes_all_its_values_out_again(workspace, source, preset):
    data = "own" if source == "parquet" else ""
    configure(workspace, preset=preset, source=source, data=data)
    straight = values(workspace.params)
    configure(workspace, source="obd")
    assert values(workspace.params) != straight
    configure(workspace, source=source, data=data)
    assert values(workspace.params) == straight


def test_comments_stay(workspace):
    configure(workspace, source="obd")
    assert "# where SOURCE=parquet reads your tables" in workspace.params.read_text()


def test_a_scale_alone_leaves_the_values_that_the_data_set_needs(workspace):
    configure(workspace, source="obd")
    before = values(workspace.params)
    configure(workspace, preset="paper")
    after = values(workspace.params)
    for section in ("train", "prepare", "features", "check", "search"):
        assert after[section] == before[section]
    assert after["collect"]["simulator"]["pages"] == 1_000_000


def test_own_edits_stay_when_own_logs_are_read(workspace):
    """A newcomer declares columns first, then runs with SOURCE=parquet, again and again."""
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("  items: []", "  items: [{name: rating, kind: numeric}]", 1))
    for _ in range(2):
        configure(workspace, source="parquet", data="own")
        assert [column.name for column in load(workspace.params, FeatureParams).items] == ["rating"]


def test_the_folder_of_own_logs_is_kept_until_another_source_is_chosen(workspace):
    def folder() -> Path:
        return load(workspace.params, CollectParams).folder

    configure(workspace, source="parquet", data="own")
    assert folder() == Path("own")
    configure(workspace, source="parquet")
    assert folder() == Path("own")
    absolute = workspace.root / "own"
    configure(workspace, data=str(absolute))
    assert folder() == absolute
    configure(workspace, source="simulator")
    assert folder() == Path("data/inbox")


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        ({"source": "parquet", "data": "nowhere"}, SourceError, "no folder .*nowhere"),
        ({"source": "parquet"}, SourceError, "inbox holds no Parquet files"),
        ({"source": "obd", "data": "own"}, ConfigError, "DATA=own goes with SOURCE=parquet, not with obd"),
        ({"data": "own"}, ConfigError, "not with simulator"),
        ({"source": "kafka"}, ConfigError, "no source 'kafka'; choose one of simulator"),
        ({"page": "shelf"}, ConfigError, "no page problem 'shelf'; choose one of item"),
        ({"preset": "huge"}, ConfigError, "no preset 'huge'; choose one of demo"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(workspace, arguments, error, complaint):
    before = workspace.params.read_text()
    with pytest.raises(error, match=complaint):
        configure(workspace, **arguments)
    assert workspace.params.read_text() == before


def test_a_preset_that_makes_params_invalid_is_not_written(workspace):
    (workspace.root / "presets" / "small.yaml").write_text("train: {epochs: -1}\n")
    before = workspace.params.read_text()
    with pytest.raises(ConfigError, match=r"train\.epochs = -1"):
        configure(workspace, preset="small")
    assert workspace.params.read_text() == before


def test_a_preset_with_an_unknown_key_is_not_written(workspace):
    (workspace.root / "presets" / "small.yaml").write_text("train: {epoch: 1}\n")
    before = workspace.params.read_text()
    with pytest.raises(ConfigError, match=r"train\.epoch"):
        configure(workspace, preset="small")
    assert workspace.params.read_text() == before
