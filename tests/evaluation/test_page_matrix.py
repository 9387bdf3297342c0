import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from pageopt.evaluation.page_matrix import PageMatrix


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_products_are_those_of_the_whole_matrix(seed: int, rows: int) -> None:
    rng, slots = np.random.default_rng(seed), 3
    cells, said = (rng.normal(size=size) * (rng.random(size) < 0.5) for size in ((rows, 4), (4, 6)))
    slot, above = rng.integers(0, slots, rows), rng.random(rows)
    matrix = PageMatrix(csr_matrix(cells), csr_matrix(said), slot, np.zeros(rows), slots).with_clicks(above)
    clicks = above[:, None] * np.column_stack([np.eye(slots)[slot], np.ones(rows)])
    whole = np.concatenate([cells @ said, clicks], axis=1)
    np.testing.assert_allclose(matrix.tocsr().toarray(), whole, atol=1e-12)
    x, y = rng.normal(size=whole.shape[1]), rng.normal(size=rows)
    np.testing.assert_allclose(matrix @ x, whole @ x, atol=1e-12)
    np.testing.assert_allclose(matrix.T @ y, whole.T @ y, atol=1e-12)
    some = rng.permutation(rows)[: rows // 2 + 1]
    np.testing.assert_allclose(matrix[some] @ x, whole[some] @ x, atol=1e-12)
    np.testing.assert_allclose(matrix[::2].T @ y[::2], whole[::2].T @ y[::2], atol=1e-12)
