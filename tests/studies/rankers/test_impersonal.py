import numpy as np

from pageopt.studies.rankers.boosted_trees import BoostedTrees, TreeParams
from pageopt.studies.rankers.impersonal import Impersonal, of_strangers, without_personalisation


def test_only_what_is_known_of_the_user_goes_missing(shop):
    before = shop.test.encoded
    after = without_personalisation(before, shop.encoder)
    names = {kind: [f.name for f in shop.encoder.page_fields if f.kind == kind] for kind in ("categorical", "numeric")}
    for kind, personal in (("categorical", {"user_top_category", "segment"}), ("numeric", {"user_click_24h"})):
        for column, name in enumerate(names[kind]):
            kept = getattr(before, kind)[:, column] * (name not in personal)
            np.testing.assert_array_equal(getattr(after, kind)[:, column], kept, err_msg=name)
    assert before.tokens.any()
    assert not after.tokens.any()
    nobody = shop.encoder.encode({field.name: [None] for field in shop.encoder.page_fields})
    assert (nobody.numeric == 0).all()  # masked is what an unknown user looks like
    assert (nobody.categorical == 0).all()


def test_users_make_no_difference(shop):
    ranker = Impersonal(BoostedTrees(shop.encoder, TreeParams(rounds=10)), shop.encoder)
    ranker.fit(shop.train, shop.valid)
    encoded = shop.test.encoded
    shifted = type(encoded)(encoded.categorical, encoded.numeric.copy(), encoded.tokens)
    column = [f.name for f in shop.encoder.page_fields if f.kind == "numeric"].index("user_click_24h")
    shifted.numeric[:, column] += 3
    pages = [ranker.page(each, shop.test.candidates) for each in (encoded, shifted)]
    np.testing.assert_array_equal(*pages)


def test_strangers_features_are_those_of_another_page_all_together(shop):
    before = shop.test.encoded
    after = of_strangers(before, shop.encoder)
    for kind in ("categorical", "numeric"):
        fields = [field for field in shop.encoder.page_fields if field.kind == kind]
        personal = np.array([field.source in ("user", "counter") for field in fields])
        was, now = getattr(before, kind), getattr(after, kind)
        np.testing.assert_array_equal(was[:, ~personal], now[:, ~personal])
        assert not np.array_equal(was[:, personal], now[:, personal])
        np.testing.assert_array_equal(np.sort(was[:, personal], axis=0), np.sort(now[:, personal], axis=0))
