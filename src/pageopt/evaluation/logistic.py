"""Logistic regression with a Gaussian prior of its own for every column, on sparse rows, and what it leaves unsure.

scikit-learn's has one penalty for all columns, and no access to the curvature that the corrections of an estimate need.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit

from pageopt.evaluation.estimate import Floats

_STEPS = 200
_EXACT = 1e-8  # relative fall of the loss below which a fit is done
_SOLVED, _MOST_TURNS = 3e-3, 150


def fit_logistic(rows: csr_matrix, label: NDArray, penalty: Floats, base: float, start: Floats) -> Floats:
    """Coefficients `[columns]` of P(label) = σ(base + rows · coefficients), the mode under the prior.

    Args:
        rows: `[n, columns]`.
        label: `[n]` of 0 and 1.
        penalty: `[columns]` precision of the prior, whose mean is 0.
        base: log-odds that no prior holds.
        start: `[columns]` where to begin.
    """
    # Columns are seen from once to n times; at a common scale of their curvature the search takes few steps.
    scale = 1 / np.sqrt(penalty + 0.05 * np.asarray(rows.multiply(rows).sum(axis=0)).ravel())
    columns = rows.T.tocsr()

    def loss(scaled: Floats) -> tuple[float, Floats]:
        coefficients = scaled * scale
        log_odds = base + rows @ coefficients
        value = np.logaddexp(0, log_odds).sum() - label @ log_odds + 0.5 * (penalty * coefficients) @ coefficients
        return float(value), (columns @ (expit(log_odds) - label) + penalty * coefficients) * scale

    options = {"maxiter": _STEPS, "ftol": _EXACT, "gtol": 1e-4 * np.sqrt(len(label)), "maxcor": 15}
    fitted: Floats = minimize(loss, start / scale, jac=True, method="L-BFGS-B", options=options).x * scale
    return fitted


def solve_curvature(rows: csr_matrix, weight: Floats, penalty: Floats, right: Floats) -> Floats:
    """x `[columns, k]` of (rowsᵀ diag(weight) rows + diag(penalty)) x = right, for k right sides at once.

    `weight [n]` is p(1 − p) of a fit, so the matrix is the curvature of its loss. By conjugate gradients, to a relative
    error that is far below what the answer is used for.
    """
    columns = rows.T.tocsr()
    diagonal = (columns.multiply(columns) @ weight + penalty)[:, None]
    x = np.zeros_like(right)
    rest = right.copy()
    scaled = rest / diagonal
    direction = scaled.copy()
    energy = (rest * scaled).sum(axis=0)
    enough = _SOLVED**2 * np.maximum(energy, 1e-300)
    for _ in range(_MOST_TURNS):
        if (energy <= enough).all():
            break
        turned = columns @ (weight[:, None] * (rows @ direction)) + penalty[:, None] * direction
        step = energy / np.maximum((direction * turned).sum(axis=0), 1e-300)
        x += step * direction
        rest -= step * turned
        scaled = rest / diagonal
        before, energy = energy, (rest * scaled).sum(axis=0)
        direction = scaled + (energy / np.maximum(before, 1e-300)) * direction
    return x
