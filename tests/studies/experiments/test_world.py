import json

import numpy as np
import pytest

from pageopt.config import CollectParams, SearchParams, TrainParams, load
from pageopt.errors import ConfigError, EvaluationError
from pageopt.simulator import Shop
from pageopt.studies.experiments import cell, exploration, world
from pageopt.studies.experiments.built import ORACLE, World
from pageopt.studies.experiments.catalog import model
from pageopt.studies.experiments.figures import Cell, Oracle
from pageopt.studies.experiments.rankers import ranker_of
from pageopt.studies.experiments.values import read_values


@pytest.fixture(scope="module")
def built(tiny_project):
    return World.load(tiny_project, "effects", 1)


def test_models_are_judged_on_random_pages_of_the_test_split(built):
    assert len(built.judged) == 250
    assert set(built.judged.policy) == {"random"}
    assert set(built.judged.page_id) <= set(built.split("test").page_id)
    assert not set(built.judged.page_id) & set(built.split("train").page_id)


def test_a_world_is_its_own_shop(built, tiny_project):
    ours, projects = (load(each.params, CollectParams) for each in (built.workspace, tiny_project))
    assert (ours.seed, ours.simulator.pages) == (1, 4000)
    assert ours.simulator.modules == projects.simulator.modules


def test_the_truth_of_logged_pages_is_what_was_clicked_on_average(built):
    values = built.truth(built.judged.module)
    clicks, spread = built.judged.click.sum(), np.sqrt((values.click * (1 - values.click)).sum())
    assert abs(clicks - values.click.sum()) < 4 * spread


def test_the_oracle_is_better_than_any_other_page_for_what_it_seeks(built):
    best, random = Oracle.read(built.workspace.root / ORACLE), built.truth(built.judged.module)
    assert best.click["ctr"] > best.purchase["ctr"]
    assert best.purchase["ptr"] > best.click["ptr"]
    assert best.click["ctr"] > 1.2 * random.ctr.mean()


def test_the_oracle_decides_the_judged_pages_and_no_others(built):
    """The oracle's value by page, against the shop's own policy on all visits of the log."""
    params = load(built.workspace.params, CollectParams)
    shop = Shop(params.simulator, params.seed)
    all_pages = shop.true_value(shop.oracle("click"), params.simulator.pages)
    by_page = built.oracle("click").ctr
    assert by_page.mean() == pytest.approx(Oracle.read(built.workspace.root / ORACLE).click["ctr"])
    assert abs(by_page.mean() - all_pages.ctr) < 5 * by_page.std() / np.sqrt(len(by_page))


def test_a_variant_that_is_none_and_a_world_that_was_not_built_are_named(tiny_project):
    with pytest.raises(ConfigError, match="no variant 'flat'"):
        world.build(tiny_project, "flat", 1)
    with pytest.raises(EvaluationError, match="plain-1 holds no world"):
        World.load(tiny_project, "plain", 1)


@pytest.mark.parametrize("name", ["static", "segment", "xgboost_pf", "mlp_ips", "trnn_ips_pf", "lc_pf"])
def test_a_cell_holds_estimates_and_truth_of_the_same_pages(tiny_project, built, name):
    cell.train_and_judge(tiny_project, "effects", name, 1)
    folder = cell.folder_of(tiny_project.root, "effects", name, 1)
    found = Cell.read(folder / cell.FILE)
    visits = read_values(folder / cell.PAGES)
    assert list(visits.page_id) == list(built.judged.page_id)
    kinds = {"pages", "late", "greedy"} if name == "trnn_ips_pf" else {"pages"}
    assert set(visits.values) == set(found.searches) == kinds
    for kind, values in visits.values.items():
        assert found.searches[kind].true_ctr == pytest.approx(values.ctr.mean(), rel=1e-5)
        assert (values.purchase <= values.click + 1e-7).all()
        assert {"ctr_dm", "ptr_ips", "ctr_snips", "ptr_dr", "ctr_sndr"} <= set(found.searches[kind].figures())
    assert found.ranking.figures().keys() == {"auc", "f1", "ndcg", "mrpr"}
    assert found.objective == ("click" if name == "lc_pf" else "purchase")
    assert found.searches["pages"].true_ctr <= found.oracle.click["ctr"] * 1.02


def test_a_cell_gives_the_same_figures_again(tiny_project):
    def figures() -> tuple[dict, bytes]:
        cell.train_and_judge(tiny_project, "effects", "trnn_ips", 1)
        folder = cell.folder_of(tiny_project.root, "effects", "trnn_ips", 1)
        return json.loads((folder / cell.FILE).read_text()) | {"seconds": 0}, (folder / cell.PAGES).read_bytes()

    assert figures() == figures()


def test_features_of_users_change_the_pages(tiny_project):
    with_users, without = ("trnn_ips_pf", "trnn_ips")
    for name in (with_users, without):
        cell.train_and_judge(tiny_project, "effects", name, 1)
    values = [
        read_values(cell.folder_of(tiny_project.root, "effects", name, 1) / cell.PAGES).values["pages"].ctr
        for name in (with_users, without)
    ]
    assert not np.array_equal(*values)


def test_the_papers_mlp_sees_no_module_above(tiny_project, built):
    search, train = (load(tiny_project.params, section) for section in (SearchParams, TrainParams))
    networks = [ranker_of(model(tiny_project.root, name), built, search, train, 1) for name in ("mlp_pf", "trnn_pf")]
    for network in networks:
        network.fit(built.split("train"), built.split("valid"))
    assert [network.model.config.above for network in networks] == ["hidden", "chosen"]


def test_exploration_runs_are_those_of_the_shop(tiny_project):
    exploration.explore(tiny_project, 1)
    visits = read_values(exploration.folder_of(tiny_project.root, 1) / exploration.FILE)
    params = load(tiny_project.params, CollectParams).simulator
    for name, diversity in (("random", "swap"), ("thompson", None), ("thompson_demote", "demote")):
        shop = Shop(params.model_copy(update={"thompson_diversity": diversity}), 1)
        true = shop.true_value("random" if name == "random" else "thompson", 1500)
        assert visits.values[name].ctr.mean() == pytest.approx(true.ctr, rel=1e-5)
        assert visits.values[name].ptr.mean() == pytest.approx(true.ptr, rel=1e-5)
    assert len(visits.page_id) == 1500
