"""What a shop that was run leaves behind."""

import json

import numpy as np
import pytest

from pageopt.config import CollectParams, load
from pageopt.errors import ConfigError, EvaluationError
from pageopt.simulator import Shop
from pageopt.simulator.measure import share_of_knowable
from pageopt.studies.experiments import exploration, shop
from pageopt.studies.experiments.cell import folder_of
from pageopt.studies.experiments.figures import Cell
from pageopt.studies.experiments.values import Visits, read_values

from .conftest import MODELS


def found(project, name: str, plan: str = "town") -> tuple[Cell, Visits]:
    folder = folder_of(project.root, plan, 1)
    return Cell.read(folder / f"{name}.json"), read_values(folder / f"{name}.parquet")


@pytest.mark.parametrize("name", MODELS)
def test_a_cell_holds_what_its_pages_are_worth(tiny_project, name):
    cell, visits = found(tiny_project, name)
    kinds = {"pages", "late", "greedy"} if name == "trnn" else {"pages"}
    assert set(visits.values) == set(cell.searches) == kinds
    assert list(visits.page_id) == list(found(tiny_project, "static_true")[1].page_id)
    for kind, values in visits.values.items():
        assert cell.searches[kind].true_ctr == pytest.approx(values.ctr.mean(), rel=1e-5)
        assert (values.purchase <= values.click + 1e-7).all()
    assert cell.objective == ("click" if name == "clicks" else "purchase")


@pytest.mark.parametrize("name", ["static", "trees", "trnn", "clicks"])
def test_models_that_learn_are_judged_by_estimators_and_by_ranking_too(tiny_project, name):
    cell, _ = found(tiny_project, name)
    for searched in cell.searches.values():
        assert {"ctr_dm", "ptr_ips", "ctr_snips", "ptr_dr", "ctr_page_dr"} <= set(searched.figures())
    assert cell.ranking.figures().keys() == {"auc", "f1", "ndcg", "mrpr"}


def test_the_share_is_that_of_the_knowable_uplift_in_purchases(tiny_project):
    static, known = (found(tiny_project, name)[1].values["pages"].ptr for name in ("static_true", "known"))
    assert known.mean() > static.mean()
    for name in ("static", "trnn", "blind"):
        cell, visits = found(tiny_project, name)
        exact = share_of_knowable(visits.values["pages"].ptr, static, known, visits.user_id)
        assert (cell.share.value, cell.share.low) == pytest.approx((exact.value, exact.low), rel=1e-4)
        assert cell.share.value < 1
    assert not hasattr(found(tiny_project, "known")[0].share, "value")


def test_a_model_above_what_can_be_known_is_refused(tiny_project, monkeypatch):
    """The Bayes page is made to be the static one, so that what learned anything is above it."""
    monkeypatch.setattr(shop, "KNOWN", "static_true")
    monkeypatch.setattr(shop, "STATIC", "known")
    with pytest.raises(EvaluationError, match="no uplift"):
        shop.run(tiny_project, "town", 1)


def test_whose_features_are_seen_changes_the_pages(tiny_project):
    values = [found(tiny_project, name)[1].values["pages"].ctr for name in ("trnn", "impersonal", "strangers")]
    assert not any(np.array_equal(values[a], values[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_a_shop_gives_the_same_figures_again_and_leaves_no_log(tiny_project):
    def figures() -> tuple[dict, bytes]:
        shop.run(tiny_project, "village", 1)
        folder = folder_of(tiny_project.root, "village", 1)
        cell = json.loads((folder / "known.json").read_text()) | {"seconds": 0}
        return cell, (folder / "known.parquet").read_bytes()

    assert figures() == figures()
    assert not (tiny_project.root / "experiments" / "worlds" / "village-1").exists()


def test_a_shop_that_is_none_is_named_with_those_there_are(tiny_project):
    with pytest.raises(ConfigError, match=r"no shop 'city'.*town, village"):
        shop.run(tiny_project, "city", 1)


def test_exploration_runs_are_those_of_the_shop(tiny_project):
    exploration.explore(tiny_project, 1)
    visits = read_values(exploration.folder_of(tiny_project.root, 1) / exploration.FILE)
    params = load(tiny_project.params, CollectParams).simulator
    for name, diversity in (("random", "swap"), ("thompson", None), ("thompson_demote", "demote")):
        alone = Shop(params.model_copy(update={"thompson_diversity": diversity}), 1)
        true = alone.true_value("random" if name == "random" else "thompson", 1500)
        assert visits.values[name].ctr.mean() == pytest.approx(true.ctr, rel=1e-5)
        assert visits.values[name].ptr.mean() == pytest.approx(true.ptr, rel=1e-5)
    assert len(visits.page_id) == 1500
