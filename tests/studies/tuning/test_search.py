import shutil

import pytest
from ruamel.yaml import YAML

from pageopt.studies.tuning.search import Search
from pageopt.studies.tuning.space import draw
from pageopt.workspace import Workspace


@pytest.fixture
def search(tunable):
    return Search(tunable)


def changed(tunable: Workspace, root, **tune) -> Search:
    """The same pages under other params."""
    shutil.copytree(tunable.root, root, dirs_exist_ok=True)
    workspace = Workspace(root)
    content = YAML(typ="safe").load(workspace.params.read_text())
    content["tune"] |= tune
    with workspace.params.open("w") as file:
        YAML(typ="safe").dump(content, file)
    return Search(workspace)


def test_trials_run_without_a_test_split_and_give_the_same_loss_again(search, tunable):
    assert not (tunable.prepared / "test").exists()
    values = draw(search.params, 0)
    first, again = search.trial(values), search.trial(values)
    assert [epoch.relative for epoch in first.epochs] == [epoch.relative for epoch in again.epochs]
    other = search.trial(draw(search.params, 1))
    assert other.best.relative != first.best.relative
    assert 0 < first.best.relative < 2


def test_an_interrupted_trial_goes_on_from_its_last_epoch(search, tunable, monkeypatch):
    values = draw(search.params, 2)
    whole = search.trial(values)
    search.forget_checkpoints()
    from pageopt.models.common import training

    passed = training._Run._pass
    done = []

    def interrupted(run, epoch, *rest):
        if epoch == 2 and 2 not in done:
            done.append(epoch)
            raise KeyboardInterrupt
        done.append(epoch)
        return passed(run, epoch, *rest)

    monkeypatch.setattr(training._Run, "_pass", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.trial(values)
    assert search.trial(values).epochs == whole.epochs
    assert done == [1, 2, 2]
    search.forget_checkpoints()
    assert not any((tunable.checkpoints / "tune").glob("*.safetensors"))


def test_a_longer_search_is_the_same_one_and_another_space_is_not(search, tunable, tmp_path):
    assert changed(tunable, tmp_path / "longer", trials=30).fingerprint() == search.fingerprint()
    space = {"dropout": {"low": 0.0, "high": 0.5}}
    assert changed(tunable, tmp_path / "other", space=space).fingerprint() != search.fingerprint()
    assert changed(tunable, tmp_path / "seed", seed=9).fingerprint() != search.fingerprint()
