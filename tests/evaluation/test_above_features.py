import numpy as np

from pageopt.evaluation.above_features import AboveFeatures


def test_rows_say_what_is_above(tmp_path):
    features = AboveFeatures(np.array([0, 1, 0, 0, 2]), np.array([[2], [3], [3], [2], [2]]))
    shown = np.array([[0, 1, 2, 3], [4, -1, 1, -1]])
    page, slot, module = np.array([0, 0, 0, 1, 1]), np.array([0, 2, 3, 2, 1]), np.array([0, 2, 4, 1, 2])
    expected = [
        # right above, its family, known above, same family, how far, alike in the categorical
        [0, 0, 0, 0, 0, 0],  # the first slot has nothing above
        [2, 2, 2, 1, 2, 1],  # module 2 below 0 and 1: family 0 two slots above, categorical 3 once
        [3, 1, 3, 0, 0, 1],  # another module than the log shows: 4 below 0, 1, 2
        [0, 0, 1, 0, 0, 0],  # module 1 below an empty slot and module 4
        [5, 3, 1, 0, 0, 0],
    ]
    np.testing.assert_array_equal(features.rows(shown, page, slot, module), expected)
    assert len(features.types) == 6
    features.save(tmp_path / "above.safetensors")
    loaded = AboveFeatures.load(tmp_path / "above.safetensors")
    np.testing.assert_array_equal(loaded.rows(shown, page, slot, module), expected)
