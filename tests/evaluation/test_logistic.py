import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from pageopt.evaluation.block_curvature import BlockCurvature, Root
from pageopt.evaluation.logistic import fit_logistic, solve_curvature


def _rows(seed: int, rows: int = 400, columns: int = 12) -> tuple[csr_matrix, np.ndarray]:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < 0.3)
    label = (rng.random(rows) < expit(dense @ rng.normal(size=columns))).astype(np.float64)
    return csr_matrix(dense), label


def _root(rows: csr_matrix, penalty: np.ndarray, groups: int = 4) -> Root:
    return BlockCurvature.of(rows, 0.2, np.arange(12) % groups).root(penalty)


@pytest.mark.parametrize("precision", [0.5, 20.0])
def test_one_prior_for_all_is_scikit_learns_penalty(precision: float) -> None:
    rows, label = _rows(1)
    penalty = np.full(12, precision)
    got = fit_logistic(rows, label, penalty, 0.0, np.zeros(12), _root(rows, penalty))
    other = LogisticRegression(C=1 / precision, fit_intercept=False, tol=1e-10, max_iter=5000).fit(rows, label)
    np.testing.assert_allclose(got, other.coef_[0], atol=1e-3)


def test_a_prior_of_its_own_holds_a_column_and_the_gradient_is_zero_at_the_mode() -> None:
    rows, label = _rows(2)
    penalty = np.where(np.arange(12) < 6, 1e6, 0.1)
    got = fit_logistic(rows, label, penalty, -0.4, np.ones(12), _root(rows, penalty))
    assert np.abs(got[:6]).max() < 1e-3 < np.abs(got[6:]).max()
    gradient = rows.T @ (expit(rows @ got - 0.4) - label) + penalty * got
    assert np.abs(gradient / (penalty + rows.multiply(rows).sum(axis=0).A1)).max() < 1e-3  # a step that is left


@pytest.mark.parametrize("groups", [1, 5, 12])
def test_the_curvature_is_solved_whatever_the_groups(groups: int) -> None:
    rows, _ = _rows(3)
    rng = np.random.default_rng(4)
    weight, penalty, right = rng.random(400), rng.random(12) + 0.1, rng.normal(size=12)
    dense = rows.toarray().T @ (weight[:, None] * rows.toarray()) + np.diag(penalty)
    got = solve_curvature(rows, weight, penalty, right, _root(rows, penalty, groups))
    np.testing.assert_allclose(got, np.linalg.solve(dense, right), rtol=0.02, atol=1e-4)
    assert not solve_curvature(rows, weight, penalty, np.zeros(12), _root(rows, penalty, groups)).any()
