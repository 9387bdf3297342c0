import numpy as np
import pytest

from pageopt.errors import EvaluationError
from pageopt.simulator.shown import NOBODY, shown


def test_what_was_shown_and_clicked_is_read_from_folder_and_memory_alike(make_shop, tmp_path) -> None:
    shop = make_shop(pages=900, traffic={"random": 1.0})
    shop.write(tmp_path)
    log = shop.logs("random", 900)
    one, other = shown(tmp_path, shop.catalog), shown(log, shop.catalog)
    assert one.page_id.equals(other.page_id)
    assert (np.diff(one.rows(np.array(log.pages["page_id"].to_pylist()))) == 1).all()
    contexts = list(shop.contexts(900))
    assert np.array_equal(one.hero_item, np.concatenate([each.hero_item for each in contexts]))
    assert np.array_equal(one.platform, np.concatenate([each.platform for each in contexts]))
    for row in other.rows(np.array(["p000000007", "p000000500"])):
        page = other.page_id[int(row)].as_py()
        impressions = [each for each in log.impressions.to_pylist() if each["page_id"] == page]
        assert [f"m{module:04d}" for module in other.modules[row] if module >= 0] == [
            each["module_id"] for each in impressions
        ]
    clicks = [each for each in log.events.to_pylist() if each["kind"] == "click"]
    assert (other.clicked >= 0).sum() == len(clicks)
    for each in clicks[:50]:
        row = other.rows(np.array([each["page_id"]]))[0]
        assert f"i{other.clicked[row, each['slot'] - 1]:06d}" == each["item_id"]


def test_sessions_of_the_log_are_those_of_the_shop(make_shop) -> None:
    shop = make_shop(users=1000)
    seen = shown(shop.logs("random", 6000), shop.catalog)
    true, offset = [], 0
    for contexts in shop.contexts(6000):
        true.append(contexts.session + offset)
        offset += contexts.session.max() + 1
    session = np.concatenate(true)
    known = seen.user != NOBODY
    order = np.argsort(seen.session, kind="stable")
    order = order[known[order]]
    found = seen.session[order][1:] == seen.session[order][:-1]
    assert (found == (session[order][1:] == session[order][:-1])).mean() > 0.98
    assert (seen.place[order][1:][found] == seen.place[order][:-1][found] + 1).all()
    assert (seen.place[~known] == 0).all()


def test_pages_of_another_log_and_folders_without_a_log_are_named(shop, tmp_path) -> None:
    with pytest.raises(EvaluationError, match="not in the log"):
        shown(shop.logs("random", 20), shop.catalog).rows(np.array(["p999999999"]))
    with pytest.raises(EvaluationError, match="holds no tables"):
        shown(tmp_path, shop.catalog)
