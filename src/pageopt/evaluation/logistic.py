"""Logistic regression with a Gaussian prior of its own for every column, on sparse rows, and what it leaves unsure.

scikit-learn's has one penalty for all columns, and no access to the curvature that the corrections of an estimate need.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import LinearOperator
from scipy.special import expit

from pageopt.evaluation.block_curvature import Root
from pageopt.evaluation.estimate import Floats

_STEPS = 200
_EXACT = 1e-8  # relative fall of the loss below which a fit is done
_SOLVED, _MOST_TURNS = 3e-3, 150


def fit_logistic(
    rows: csr_matrix | LinearOperator, label: NDArray, penalty: Floats, base: float, start: Floats, root: Root
) -> Floats:
    """Coefficients `[columns]` of P(label) = σ(base + rows · coefficients), the mode under the prior.

    Args:
        rows: `[n, columns]`.
        label: `[n]` of 0 and 1.
        penalty: `[columns]` precision of the prior, whose mean is 0.
        base: log-odds that no prior holds.
        start: `[columns]` where to begin.
        root: coordinates to search in; they change how long it takes, and nothing else.
    """

    def loss(within: Floats) -> tuple[float, Floats]:
        coefficients = root.times(within)
        log_odds = base + rows @ coefficients
        value = np.logaddexp(0, log_odds).sum() - label @ log_odds + 0.5 * (penalty * coefficients) @ coefficients
        return float(value), root.transposed(rows.T @ (expit(log_odds) - label) + penalty * coefficients)

    options = {"maxiter": _STEPS, "ftol": _EXACT, "gtol": 1e-4 * np.sqrt(len(label)), "maxcor": 15}
    return root.times(minimize(loss, root.solve(start), jac=True, method="L-BFGS-B", options=options).x)


def solve_curvature(
    rows: csr_matrix | LinearOperator, weight: Floats, penalty: Floats, right: Floats, root: Root
) -> Floats:
    """x `[columns]` of (rowsᵀ diag(weight) rows + diag(penalty)) x = right.

    `weight [n]` is p(1 − p) of a fit, so the matrix is the curvature of its loss. By conjugate gradients in the
    coordinates of `root`, to a relative error that is far below what the answer is used for.
    """
    within = np.zeros_like(right)
    rest = root.transposed(right)
    direction, energy = rest, float(rest @ rest)
    enough = _SOLVED**2 * energy
    for _ in range(_MOST_TURNS):
        if energy <= enough:
            break
        along = root.times(direction)
        turned = root.transposed(rows.T @ (weight * (rows @ along)) + penalty * along)
        step = energy / (direction @ turned)
        within = within + step * direction
        rest = rest - step * turned
        before, energy = energy, float(rest @ rest)
        direction = rest + (energy / before) * direction
    return root.times(within)
