import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from pageopt.evaluation.block_curvature import BlockCurvature


@given(st.integers(0, 10_000), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_a_root_whitens_the_curvature_within_groups_and_leaves_out_the_rest(seed: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(40, 9)) * (rng.random((40, 9)) < 0.4)
    group, penalty = rng.integers(0, groups, 9), rng.random(9) + 0.1
    root = BlockCurvature.of(csr_matrix(dense), 0.3, group).root(penalty, times=2.0)
    within = (0.6 * dense.T @ dense) * (group[:, None] == group) + np.diag(penalty)
    matrix = np.stack([root.times(unit) for unit in np.eye(9)], axis=1)
    np.testing.assert_allclose(matrix @ matrix.T, np.linalg.inv(within), rtol=1e-8, atol=1e-10)
    x = rng.normal(size=9)
    np.testing.assert_allclose(root.transposed(x), matrix.T @ x, atol=1e-10)
    np.testing.assert_allclose(root.times(root.solve(x)), x, atol=1e-10)


def test_of_many_rows_some_are_enough() -> None:
    rng = np.random.default_rng(1)
    column, rows = rng.integers(0, 6, 150_000), 150_000
    matrix = csr_matrix((np.ones(rows), (np.arange(rows), column)), shape=(rows, 6))
    curvature = BlockCurvature.of(matrix, 0.5, np.zeros(6, dtype=np.int64))
    np.testing.assert_allclose(curvature.blocks[0][0], np.diag(np.bincount(column)) * 0.5, rtol=0.05)
