"""Answers from cells that were written by hand."""

from pathlib import Path

import pytest

from pageopt.studies.experiments.cell import folder_of
from pageopt.studies.experiments.figures import Cell, Searched, Share
from pageopt.studies.experiments.plans import ShopPlan
from pageopt.studies.experiments.questions import answer, curve
from pageopt.studies.experiments.results import Results
from pageopt.studies.experiments.tables import Curve, Gain, Line, Question

SEEDS = (1, 2, 3)
PTR = {
    "static_true": (0.10, 0.11, 0.12),
    "known": (0.20, 0.21, 0.22),
    "blind": (0.15, 0.16, 0.17),
    "a": (0.17, 0.18, 0.19),
    "b": (0.14, 0.15, 0.16),
    "like b": (0.1401, 0.1499, 0.1601),
}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    results = Results(tmp_path, {"default": SEEDS}, 0.95)
    plan = ShopPlan(title="A shop", seeds="default", models=tuple(PTR))
    results.__dict__["shops"] = {"default": plan, "other": plan}
    for shop in ("default", "other"):
        for name, values in PTR.items():
            for seed, ptr in zip(SEEDS, values, strict=True):
                share = Share((ptr - PTR["static_true"][seed - 1]) / 0.1, 0.0, 1.0)
                cell = Cell(
                    shop=shop,
                    name=name,
                    seed=seed,
                    kind="mlp",
                    title=name,
                    objective="purchase",
                    seconds=1.0,
                    judged_pages=1,
                    share=share,
                    searches={"pages": Searched(true_ctr=2 * ptr, true_ptr=ptr)},
                )
                folder = folder_of(tmp_path, shop, seed)
                folder.mkdir(parents=True, exist_ok=True)
                cell.write(folder / f"{name}.json")
    return results


@pytest.mark.parametrize(
    ("asked", "said", "reached"),
    [
        ({"share": "a", "demand": 0.6}, "PTR 70% (70% to 70%)", True),
        ({"share": "a", "demand": 0.8}, "PTR 70% (70% to 70%)", False),
        ({"model": "a", "against": "b", "demand": "more"}, "more", True),
        ({"model": "a", "against": "b", "demand": "less"}, "more", False),
        ({"model": "b", "against": "a", "demand": "less"}, "less", True),
        ({"model": "like b", "against": "b", "demand": "alike"}, "alike", True),
        ({"model": "a", "against": "b", "demand": "alike"}, "more", False),
        ({"model": "like b", "against": "b", "demand": "more"}, "alike", False),
        ({"model": "b", "against": "a", "demand": "no more"}, "less", True),
        ({"model": "a", "against": "b", "demand": "no more"}, "more", False),
        (
            {"model": "a", "against": "b", "of": Gain(model="known", against="blind"), "demand": 0.5},
            "PTR 60% (60% to 60%)",
            True,
        ),
        ({"model": "a", "against": "b", "of": Gain(model="blind", against="known"), "demand": 0.5}, "cannot", False),
        ({"model": "a", "against": "b"}, "more", None),
    ],
)
def test_answers_say_the_figure_and_whether_it_is_what_was_demanded(results, asked, said, reached):
    found = answer(results, Question(ask="?", **asked), "ptr")
    assert said in found.answer
    assert found.reached is reached


def test_the_gain_is_that_of_means_over_seeds(results):
    found = answer(results, Question(ask="?", model="a", against="b"), "ctr").figure
    assert found.value == pytest.approx(0.18 / 0.15 - 1)


def test_a_curve_has_a_point_for_each_shop(results):
    lines = (Line(title="share", share="a"), Line(title="gain", model="a", against="b"))
    found = curve(results, Curve(id="c", title="C", x="x", shops={"0": "default", "1": "other"}, lines=lines), "ptr")
    assert [line.title for line in found.lines] == ["share", "gain"]
    assert [[point.at for point in line.points] for line in found.lines] == [["0", "1"]] * 2
    assert found.lines[0].points[0].figure.value == pytest.approx(0.7)
