from pathlib import Path

import pytest

from pageopt.errors import ReleaseError
from pageopt.workflow.lineage import params_behind

LOCK = """
schema: '2.0'
stages:
  collect:
    params: {params.yaml: {collect: {seed: 1, simulator: {pages: 100, traffic: {random: 0.7}}}}}
    outs: [{path: data/raw, md5: a}]
  train:
    deps: [{path: data/raw/pages, md5: a}, {path: src/pageopt/models, md5: c}]
    params: {params.yaml: {train: {losses: [click, intent], bf16: false}, features: {}}}
    outs: [{path: models/network, md5: b}]
  evaluate:
    deps: [{path: models/network, md5: b}]
    params: {params.yaml: {evaluate: {folds: 3}}}
    outs: [{path: reports/evaluation.json, md5: d}]
"""


def test_params_behind_an_output_are_those_of_its_stage_and_of_the_stages_above(tmp_path: Path):
    (tmp_path / "dvc.lock").write_text(LOCK)
    assert params_behind(tmp_path, "models/network") == {
        "collect.seed": 1,
        "collect.simulator.pages": 100,
        "collect.simulator.traffic.random": 0.7,
        "train.losses": ["click", "intent"],
        "train.bf16": False,
        "features": {},
    }
    assert params_behind(tmp_path, "reports/evaluation.json")["evaluate.folds"] == 3
    assert params_behind(tmp_path, "elsewhere") == {}


def test_before_the_first_run_it_says_what_to_do(tmp_path: Path):
    with pytest.raises(ReleaseError, match="make run"):
        params_behind(tmp_path, "models/bundle")
