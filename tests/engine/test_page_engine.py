import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pageopt.engine import page_engine as engine_module
from pageopt.engine.page_engine import PageEngine
from pageopt.errors import ExportError
from pageopt.features.encoder import Encoder
from pageopt.problems.item import ITEM
from pageopt.search.beam import beam_search

PAGE = {"platform": "web", "hero_category": "shoes", "hero_title": "red shoe", "hero_price": 3.0}


@pytest.fixture(scope="session")
def loaded(bundle: Path) -> PageEngine:
    return PageEngine(bundle)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def many(pages: int, seed: int = 0) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    fields = {
        "platform": random.choice(["web", "app", "tv", None], pages),
        "hero_category": random.choice(["shoes", "bags", "new"], pages),
        "hero_title": random.choice(["red shoe", "blue bag", None], pages),
        "hero_price": random.normal(5, 3, pages),
        "user_click_24h": random.random(pages),
    }
    candidates = np.stack([random.permutation(9) for _ in range(pages)])
    candidates[random.random((pages, 9)) < 0.3] = -1
    return fields, candidates, random.integers(1, 5, pages)


def test_what_it_knows(loaded: PageEngine) -> None:
    assert (loaded.slots, loaded.max_candidates, loaded.policy) == (4, 50, "trnn")
    assert loaded.families == ("alike", "bought", "viewed")
    assert [loaded.module_index[module_id] for module_id in loaded.module_ids] == list(range(9))
    assert loaded.static_page == tuple(range(9))
    assert ITEM.declared(loaded.page_fields) == {"season": "categorical", "age": "numeric"}


def test_a_page_is_what_the_reference_search_finds_with_the_model(loaded: PageEngine, bundle: Path) -> None:
    import torch

    from pageopt.models.item.network import load_network

    model = load_network(bundle.parent / "network").eval()
    encoded = Encoder.load(bundle / "encoder").encode({name: [value] for name, value in PAGE.items()})
    page = [torch.from_numpy(array) for array in (encoded.categorical, encoded.numeric, encoded.tokens)]
    candidates = [7, 1, 4, 0, 8, 2]

    def purchase(prefix: tuple[int, ...]) -> np.ndarray:
        above = [candidates[place] for place in prefix]
        shown = torch.tensor([[*above, module] + [-1] * (3 - len(above)) for module in candidates])
        with torch.inference_mode():
            logits = model(*(part.repeat(len(candidates), *[1] * (part.dim() - 1)) for part in page), shown)
        return torch.sigmoid(logits[:, len(above), 2]).numpy()

    best = beam_search(purchase, [module % 3 for module in candidates], 4, 3)
    decision = loaded.rank_one(PAGE, candidates)
    assert decision.modules[0].tolist() == [candidates[place] for place in best.chosen]
    assert decision.score[0] == pytest.approx(best.score, abs=1e-5)


def test_many_pages_are_decided_as_one_by_one(loaded: PageEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    fields, candidates, slots = many(40)
    batch = loaded.rank_batch(fields, candidates, slots)
    monkeypatch.setattr(engine_module, "_CELLS", 30)  # chunks of 3 pages
    chunked, side_by_side = (loaded.rank_batch(fields, candidates, slots, threads) for threads in (1, 2))
    for row in range(40):
        one = loaded.rank_one({name: column[row] for name, column in fields.items()}, candidates[row], int(slots[row]))
        for each in (batch, chunked, side_by_side):
            np.testing.assert_array_equal(each.modules[row], one.modules[0])
            np.testing.assert_allclose(each.probabilities[row], one.probabilities[0], atol=1e-6)
            np.testing.assert_allclose(each.score[row], one.score[0], atol=1e-6)


def test_pages_keep_candidates_length_and_family_rule(loaded: PageEngine) -> None:
    fields, candidates, slots = many(300, seed=1)
    decision = loaded.rank_batch(fields, candidates, slots)
    for row in range(300):
        page = [module for module in decision.modules[row].tolist() if module >= 0]
        offered = set(candidates[row].tolist()) - {-1}
        assert len(page) == len(set(page)) == min(len(offered), slots[row])
        assert set(page) <= offered
        assert (decision.modules[row, len(page) :] == -1).all()
        assert (decision.probabilities[row, len(page) :] == 0).all()
        for place in range(1, len(page)):
            left = offered - set(page[:place])
            assert page[place] % 3 != page[place - 1] % 3 or {module % 3 for module in left} == {page[place] % 3}
    assert ((decision.probabilities >= 0) & (decision.probabilities <= 1)).all()
    assert len({tuple(page) for page in decision.modules.tolist()}) > 20


@pytest.mark.parametrize("count", [1, 2, 9])
def test_any_number_of_candidates(loaded: PageEngine, count: int) -> None:
    assert (loaded.rank_one(PAGE, range(count)).modules >= 0).sum() == min(count, 4)


def test_no_candidates_and_no_pages(loaded: PageEngine) -> None:
    empty = loaded.rank_one(PAGE, [])
    assert (empty.modules == -1).all()
    assert empty.score[0] == 0
    assert loaded.rank_batch({"platform": []}, np.zeros((0, 3), dtype=np.int64)).modules.shape == (0, 4)


def test_threads_decide_the_same_pages(loaded: PageEngine) -> None:
    fields, candidates, slots = many(30, seed=2)
    expected = loaded.rank_batch(fields, candidates, slots)
    results = []

    def work() -> None:
        results.append(loaded.rank_batch(fields, candidates, slots))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result.modules, expected.modules)


def test_the_bundle_says_which_kind_of_page_it_decides(loaded: PageEngine, copy: Path) -> None:
    file = copy / "bundle.json"
    facts = json.loads(file.read_text())
    assert loaded.problem is ITEM
    file.write_text(json.dumps(facts | {"problem": "shelf"}))
    with pytest.raises(ExportError, match=r"bundle\.json.*no page problem 'shelf'"):
        PageEngine(copy)
    del facts["problem"]  # as a champion has it that was made before there were others
    file.write_text(json.dumps(facts))
    assert PageEngine(copy).problem is ITEM


@pytest.mark.parametrize("name", ["bundle.json", "page.onnx", "encoder"])
def test_a_missing_part_is_named(copy: Path, name: str) -> None:
    part = copy / name
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink()
    with pytest.raises(ExportError, match=name):
        PageEngine(copy)


@pytest.mark.parametrize("name", ["bundle.json", "page.onnx", "encoder/encoder.json"])
@pytest.mark.parametrize("content", [b"", b"not what it should be" * 300, b"[]"])
def test_a_broken_part_is_named(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    with pytest.raises(ExportError, match=name.split("/")[0]):
        PageEngine(copy)


@pytest.mark.parametrize(
    "change", [{"slots": 5}, {"slots": "4"}, {"static_page": [0]}, {"static_page": None}, {"static_page": [9] * 9}]
)
def test_parts_of_two_models_do_not_load(copy: Path, change: dict[str, Any]) -> None:
    facts = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(facts | change))
    with pytest.raises(ExportError, match=r"bundle\.json"):
        PageEngine(copy)


def test_a_graph_of_something_else_does_not_load(copy: Path) -> None:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (copy / "page.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match=r"page\.onnx"):
        PageEngine(copy)
