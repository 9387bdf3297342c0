import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from pageopt.config import DriftGate
from pageopt.policies.decision import Decision
from pageopt.release.gates.drift import exposure, judge, no_champion

LIMITS = DriftGate(psi=0.5, jensen_shannon=0.3, wasserstein=0.5)
FAMILY = np.array([0, 0, 1, 1, 2, 2])


def decision(seed: int, scale: float = 1.0, modules: np.ndarray | None = None) -> Decision:
    rng = np.random.default_rng(seed)
    pages = rng.permuted(np.tile(np.arange(6), (500, 1)), axis=1)[:, :3] if modules is None else modules
    odds = (rng.beta(2, 30, (*pages.shape, 3)) * scale).astype(np.float32)
    odds[pages < 0] = 0
    return Decision(pages, odds, odds[..., 2].sum(axis=1))


def test_the_same_model_does_not_drift():
    found = judge(decision(1), decision(1), FAMILY, 3, LIMITS)
    assert found.passed
    assert {check.value for check in found.checks} == {0.0}


def test_chance_alone_is_not_drift():
    assert judge(decision(1), decision(2), FAMILY, 3, LIMITS).passed


def test_other_scores_are_drift_and_named():
    found = judge(decision(1, scale=3), decision(2), FAMILY, 3, LIMITS)
    assert not found.passed
    failed = {check.name for check in found.checks if not check.passed}
    assert {"PSI of click scores", "PSI of purchase scores", "Wasserstein of click scores"} <= failed
    assert "Jensen-Shannon of family exposure" not in failed


def test_other_families_in_a_slot_are_drift():
    old = np.tile(np.arange(6), (500, 1))[:, :3]
    new = old.copy()
    new[:, 1] = 4
    found = judge(decision(1, modules=new), decision(2, modules=old), FAMILY, 3, LIMITS)
    failed = [check for check in found.checks if not check.passed]
    assert [check.name for check in failed] == ["Jensen-Shannon of family exposure"]
    assert "in slot 2" in failed[0].why
    assert failed[0].value == pytest.approx(jensenshannon([1, 0, 0], [0, 0, 1], base=2))


def test_exposure_counts_families_by_slot_and_leaves_empty_slots_out():
    modules = np.array([[0, 2, 4], [1, 4, -1]])
    assert exposure(modules, FAMILY, 3).tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_nothing_in_common_fails_rather_than_passing_unseen():
    empty = np.full((500, 3), -1)
    found = judge(decision(1), decision(2, modules=empty), FAMILY, 3, LIMITS)
    assert not found.passed
    assert "no slot that both fill" in found.why


def test_without_a_champion_it_says_so():
    found = no_champion("champion 3 cannot be compared: it knows none of the candidate's modules")
    assert found.passed
    assert found.why.startswith("champion 3 cannot be compared")
