import numpy as np
import pytest

from pageopt.config import CollectParams, load
from pageopt.errors import ConfigError
from pageopt.studies.experiments.plans import ShopPlan, shop
from pageopt.studies.experiments.world import build


@pytest.fixture(scope="module")
def built(tiny_project):
    return build(tiny_project, "village", shop(tiny_project.root, "village"), 1)


def test_a_world_is_its_own_shop_whose_users_come_as_often_as_in_the_projects(built, tiny_project):
    ours, projects = (load(each.params, CollectParams) for each in (built.workspace, tiny_project))
    assert (ours.seed, ours.simulator.pages, ours.simulator.users) == (1, 2000, 100)
    assert ours.simulator.modules == projects.simulator.modules


def test_what_a_shop_changes_is_changed_and_nothing_else(tiny_project):
    plan = shop(tiny_project.root, "town")
    town = build(tiny_project, "town", plan.model_copy(update={"estimates": False}), 1)
    ours, projects = (load(each.params, CollectParams).simulator for each in (town.workspace, tiny_project))
    assert ours == projects.model_copy(update={"page_effects": "family"})
    assert town.reward_model is None


def test_models_are_judged_on_pages_of_the_test_split(built):
    assert len(built.judged) == 250
    assert not set(built.judged.page_id) & (set(built.train.page_id) | set(built.valid.page_id))


def test_the_truth_of_logged_pages_is_what_was_clicked_on_average(built):
    values = built.truth(built.judged.module)
    clicks, spread = built.judged.click.sum(), np.sqrt((values.click * (1 - values.click)).sum())
    assert abs(clicks - values.click.sum()) < 4 * spread


def test_a_change_of_what_is_no_param_is_named(tiny_project):
    plan = ShopPlan(title="odd", seeds="default", models=("static", "mlp"), changed={"collect.simulator.weather": 1})
    with pytest.raises(ConfigError, match=r"'collect\.simulator\.weather', which params\.yaml does not have"):
        build(tiny_project, "odd", plan, 1)
