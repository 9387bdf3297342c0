import subprocess
from pathlib import Path

import pytest

from pageopt.errors import ReleaseError
from pageopt.workflow.fingerprint import Commit, commit, data_versions, fingerprint
from pageopt.workspace import Workspace

LOCK = """
schema: '2.0'
stages:
  collect:
    cmd: pageopt collect
    outs:
    - {path: data/raw, hash: md5, md5: aaa.dir, size: 100, nfiles: 3}
  train:
    cmd: pageopt train
    outs:
    - {path: reports/train.json, hash: md5, md5: bbb, size: 7}
    - {path: models/network, hash: md5, md5: ccc.dir, size: 50, nfiles: 2}
"""
PARAMS = """
gates: {data: {min_pages: 1}}
search: {width: 3}
release: {preset: demo, model_name: page-optimizer}
train: {epochs: 3}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "params.yaml").write_text(PARAMS)
    return Workspace(tmp_path)


def test_data_versions_are_those_of_the_lock(workspace: Workspace):
    versions = data_versions(workspace.root)
    assert versions["data/raw"].md5 == "aaa.dir"
    assert (versions["data/raw"].stage, versions["data/raw"].files, versions["data/raw"].bytes) == ("collect", 3, 100)
    assert versions["reports/train.json"].files == 1


def test_no_lock_says_what_to_do(tmp_path: Path):
    with pytest.raises(ReleaseError, match="make run"):
        data_versions(tmp_path)


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("dvc.lock", "ccc.dir", "ddd.dir", True),
        ("dvc.lock", "md5: bbb", "md5: eee", False),  # a record of times, other in each run
        ("params.yaml", "min_pages: 1", "min_pages: 2", True),
        ("params.yaml", "width: 3", "width: 1", True),
        ("params.yaml", "preset: demo", "preset: paper", False),
        ("params.yaml", "model_name: page-optimizer", "model_name: another", True),
    ],
)
def test_what_changes_a_fingerprint(workspace: Workspace, file: str, old: str, new: str, changes: bool):
    before = fingerprint(workspace)
    assert before == fingerprint(workspace)
    path = workspace.root / file
    path.write_text(path.read_text().replace(old, new))
    assert (fingerprint(workspace) != before) is changes


def test_what_the_endpoint_is_built_from_changes_a_fingerprint(workspace: Workspace):
    before = fingerprint(workspace)
    (workspace.root / "serving.lock").write_text("numpy==1")
    assert fingerprint(workspace) != before


def test_commit(tmp_path: Path):
    assert commit(tmp_path) == Commit(None, None)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    (tmp_path / "a").write_text("1")
    for arguments in (["init", "-q"], ["add", "a"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    clean = commit(tmp_path)
    assert clean.sha is not None
    assert len(clean.sha) == 40
    assert clean.dirty is False
    (tmp_path / "a").write_text("2")
    assert commit(tmp_path).dirty is True
