from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pageopt import config
from pageopt.errors import ConfigError

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text((REPOSITORY / "params.yaml").read_text())
    return path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_shipped_params_are_valid(params):
    config.check_all(params)


@pytest.mark.parametrize("preset", ["demo", "paper", "small"])
def test_every_preset_leaves_valid_params(params, preset):
    config.apply(params, REPOSITORY / "presets" / f"{preset}.yaml")
    config.check_all(params)


def test_the_shipped_params_are_the_demo_preset(params):
    assert config.apply(params, REPOSITORY / "presets" / "demo.yaml") == []


def leaves(node: dict, prefix: str = "") -> set[str]:
    return {
        key
        for name, value in node.items()
        for key in (leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"})
    }


def test_presets_set_the_same_keys_so_that_each_undoes_the_others():
    keys = [
        leaves(YAML(typ="safe").load((REPOSITORY / "presets" / f"{name}.yaml").read_text()))
        for name in ("demo", "paper", "small")
    ]
    assert keys[0] == keys[1] == keys[2]


def test_applying_keeps_comments_and_says_what_changed(params):
    changed = config.apply(params, REPOSITORY / "presets" / "small.yaml")
    assert "collect.simulator.pages" in changed
    assert "# simulator | obd | parquet" in params.read_text()


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("batch_size: 512", "batch_size: -3", ["train.batch_size", "-3"]),
        (
            "batch_size: 512",
            "batch_sise: 512",
            ["train.batch_sise = 512: there is no", "train.batch_size is missing. Take"],
        ),
        ("above: auto\n", "history: auto\n", ["train.history = 'auto': there is no", "train.above is missing. Take"]),
        ("train: 0.6", "train: 0.9", ["prepare.split", "sum to 1"]),
        ("random: 0.7", "random: 0.9", ["collect.simulator", "sum to 1"]),
        ("width: 3\n", "width: 0\n", ["search.width = 0", "greater than 0"]),
        ("beam_start: 1", "beam_start: 0", ["search.beam_start = 0", "greater than 0"]),
        ("objective: purchase", "objective: money", ["search.objective", "money"]),
        ("release:\n", "releese:\n", ["releese"]),
        ("collect:\n", "collect: [\n", ["not valid YAML"]),
    ],
)
def test_a_wrong_value_is_named_with_its_key(params, old, new, names):
    edit(params, old, new)
    with pytest.raises(ConfigError) as caught:
        config.check_all(params)
    assert all(name in str(caught.value) for name in names), str(caught.value)
    assert max(map(len, str(caught.value).splitlines())) < 300  # no whole section, which hides what is wrong in it


def test_a_missing_file_and_a_missing_section_say_where_to_get_them(tmp_path):
    with pytest.raises(ConfigError, match="git checkout"):
        config.load(tmp_path / "params.yaml", config.TrainParams)
    (tmp_path / "params.yaml").write_text("check: {max_bad_share: 0.1, slots: null}\n")
    with pytest.raises(ConfigError, match="no section 'train'"):
        config.load(tmp_path / "params.yaml", config.TrainParams)


def test_declared_features_share_one_name_space(params):
    edit(params, "  pages: []\n  items: []", "  pages: [{name: x, kind: text}]\n  items: [{name: x, kind: numeric}]")
    with pytest.raises(ConfigError, match="share one name space"):
        config.load(params, config.FeatureParams)


def test_params_are_frozen(params):
    train = config.load(params, config.TrainParams)
    with pytest.raises(ValueError, match="frozen"):
        train.epochs = 3


def test_an_overlay_may_not_invent_keys(params, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("train: {colour: red}\n")
    with pytest.raises(ConfigError, match=r"train\.colour"):
        config.apply(params, overlay)
