from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import ndcg_score

from pageopt.errors import EvaluationError
from pageopt.evaluation.ranking import ilad, mrpr, ndcg, page_ndcg, page_reciprocal_rank, precision_at_k


@st.composite
def pages(draw):
    shape = (draw(st.integers(1, 6)), draw(st.integers(2, 5)))
    label = draw(arrays(float, shape, elements=st.sampled_from([0.0, 0.0, 1.0, 2.0])))
    score = draw(arrays(float, shape, elements=st.sampled_from([0.0, 0.1, 0.5, 0.7, 2.0])))
    label[0, 0] = 1.0
    return label, score


@given(pages())
@settings(max_examples=80, deadline=None)
def test_ndcg_is_sklearns_ties_and_all(drawn):
    label, score = drawn
    some = label.sum(axis=1) > 0
    assert ndcg(label, score) == pytest.approx(ndcg_score(label[some], score[some]), abs=1e-12)


def _brute_reciprocal_rank(label, score):
    ranks = []
    for order in permutations(range(len(score))):
        if all(score[a] >= score[b] for a, b in pairwise(order)):
            ranks.append(1 / (1 + next(i for i, slot in enumerate(order) if label[slot] > 0)))
    return np.mean(ranks)


@given(pages())
@settings(max_examples=60, deadline=None)
def test_mrpr_is_the_mean_over_all_orders_of_ties(drawn):
    label, score = drawn
    expected = [_brute_reciprocal_rank(row, scores) for row, scores in zip(label, score, strict=True) if row.any()]
    assert mrpr(label, score) == pytest.approx(np.mean(expected), abs=1e-12)


@given(pages(), st.sampled_from([np.nan, -np.inf]))
@settings(max_examples=40, deadline=None)
def test_masked_slots_are_as_if_not_there(drawn, mask):
    label, score = drawn
    wide_label = np.concatenate([label, np.full((len(label), 1), 2.0)], axis=1)
    wide_score = np.concatenate([score, np.full((len(label), 1), mask)], axis=1)
    np.testing.assert_allclose(page_ndcg(wide_label, wide_score), page_ndcg(label, score))
    np.testing.assert_allclose(page_reciprocal_rank(wide_label, wide_score), page_reciprocal_rank(label, score))


def test_small_examples_by_hand():
    label = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1]])
    score = np.array([[0.9, 0.5, 0.1], [1, 2, 3], [0.1, 0.9, 0.5]])
    assert mrpr(label, score) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert np.isnan(page_ndcg(label, score)[1])
    assert precision_at_k(label, 1) == pytest.approx(1 / 3)
    assert precision_at_k(label, 3) == pytest.approx(3 / 9)
    assert precision_at_k(np.array([[1, np.nan]]), 2) == pytest.approx(0.5)


@given(arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(2, 5)), elements=st.integers(-1, 3)))
@settings(max_examples=50, deadline=None)
def test_ilad_is_the_mean_over_pairs(categories):
    means = []
    for row in categories:
        shown = [c for c in row if c >= 0]
        pairs = [a != b for i, a in enumerate(shown) for b in shown[i + 1 :]]
        if pairs:
            means.append(np.mean(pairs))
    if means:
        assert ilad(categories) == pytest.approx(np.mean(means), abs=1e-12)
        names = np.array([[None if c < 0 else f"c{c}" for c in row] for row in categories], dtype=object)
        assert ilad(names) == pytest.approx(np.mean(means), abs=1e-12)
    else:
        with pytest.raises(EvaluationError, match="no page of categories has two slots"):
            ilad(categories)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ndcg([[1, 0]], [[1]]), r"score has shape \(1, 1\), but label has \(1, 2\)"),
        (lambda: ndcg([1, 0], [1, 0]), r"label must have shape \[pages, slots\]"),
        (lambda: ndcg([[0, -1]], [[1, 2]]), r"label\[0, 1\] is -1"),
        (lambda: mrpr([[0, 0]], [[1, 2]]), "no page has a positive label"),
        (lambda: precision_at_k([[0, 1]], 3), "k must be from 1 to the 2 slots"),
        (lambda: ilad([1, 2]), r"categories must have shape"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(EvaluationError, match=message):
        call()
