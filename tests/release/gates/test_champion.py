import shutil

import numpy as np
import pytest

from pageopt.engine.page_engine import PageEngine
from pageopt.errors import NotComparableError
from pageopt.release.gates.champion import Champion
from pageopt.release.gates.simulated import SimulatedPages

MODULES = tuple(f"m{number}" for number in range(9))


def test_the_same_bundle_decides_the_same(workspace):
    pages = SimulatedPages.load(workspace.simulated)
    engine = PageEngine(workspace.bundle)
    champion = Champion.load(3, workspace.bundle, engine.module_ids)
    assert (champion.number, champion.known) == (3, 9)
    expected = engine.rank_batch(pages.fields, pages.candidates)
    found = champion.decide(pages.fields, pages.candidates, 4)
    np.testing.assert_array_equal(found.modules, expected.modules)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_other_modules_and_slots_are_translated(maker, workspace):
    """The champion knows m2 to m8, m91 and m92, and two slots; the candidate m0 to m8 and four."""
    old = maker(modules=(*MODULES[2:], "m91", "m92"), slots=2)
    pages = SimulatedPages.load(workspace.simulated)
    champion = Champion.load(1, old.bundle, MODULES)
    assert champion.known == 7
    found = champion.decide(pages.fields, pages.candidates, 4)
    assert found.modules.shape == (len(pages), 4)
    assert (found.modules[:, 2:] == -1).all()
    assert (found.probabilities[:, 2:] == 0).all()
    engine = champion.engine
    for page in range(0, len(pages), 7):
        offered = [MODULES[module] for module in pages.candidates[page] if module >= 2]
        fields = {name: column[page] for name, column in pages.fields.items()}
        alone = engine.rank_one(fields, [engine.module_index[name] for name in offered])
        expected = [engine.module_ids[module] for module in alone.modules[0] if module >= 0]
        assert [MODULES[module] for module in found.modules[page] if module >= 0] == expected


def test_a_champion_of_other_modules_cannot_be_compared(workspace):
    with pytest.raises(NotComparableError, match="knows none of the candidate's modules"):
        Champion.load(1, workspace.bundle, ("n1", "n2"))


def test_a_champion_whose_bundle_is_broken_cannot_be_compared(workspace, tmp_path):
    broken = shutil.copytree(workspace.bundle, tmp_path / "bundle")
    (broken / "page.onnx").write_bytes(b"no graph")
    with pytest.raises(NotComparableError, match="cannot be loaded"):
        Champion.load(1, broken, MODULES)
