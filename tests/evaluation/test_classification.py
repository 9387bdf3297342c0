import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, roc_auc_score

from pageopt.errors import EvaluationError
from pageopt.evaluation.classification import auc, best_threshold, f1
from pageopt.evaluation.estimate import UserBootstrap


def _impressions(seed=0, pages=60, slots=3):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 6, pages * slots) / 5  # many ties
    label = rng.random(pages * slots) < 0.1 + 0.5 * score
    return label, score, np.repeat(np.arange(pages), slots), UserBootstrap(pages, np.arange(pages) % 17, replicates=40)


def test_resamples_are_sklearns_on_weighted_impressions():
    label, score, page, bootstrap = _impressions()
    weights = [counts[bootstrap.units[page]] for counts in bootstrap.counts]
    predicted = score >= 0.6
    for estimate, replicated in (
        (auc(label, score, page, bootstrap), [roc_auc_score(label, score, sample_weight=w) for w in weights]),
        (f1(label, score, 0.6, page, bootstrap), [f1_score(label, predicted, sample_weight=w) for w in weights]),
    ):
        low, high = np.quantile(replicated, [0.025, 0.975])
        assert estimate.low == pytest.approx(low, abs=1e-12)
        assert estimate.high == pytest.approx(high, abs=1e-12)
    assert auc(label, score, page, bootstrap).value == pytest.approx(roc_auc_score(label, score))
    assert f1(label, score, 0.6, page, bootstrap).value == pytest.approx(f1_score(label, predicted))


@given(
    arrays(bool, 12, elements=st.booleans()),
    arrays(float, 12, elements=st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9])),
)
@settings(max_examples=60, deadline=None)
def test_no_threshold_has_a_better_f1(label, score):
    label[0] = True
    found = f1_score(label, score >= best_threshold(label, score))
    best = max(f1_score(label, score >= threshold) for threshold in np.unique(score))
    assert found == pytest.approx(best)


def test_labels_that_define_nothing():
    label, score, page, bootstrap = _impressions()
    nothing = np.zeros_like(label)
    assert best_threshold(nothing, score) == float("inf")
    with pytest.raises(EvaluationError, match="all labels are the same"):
        auc(nothing, score, page, bootstrap)
    with pytest.raises(EvaluationError, match="no label is positive"):
        f1(nothing, score, 0.5, page, bootstrap)
