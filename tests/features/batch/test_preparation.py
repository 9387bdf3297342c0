"""The whole of prepare on random logs with declared columns, held against the logs it was made from."""

from dataclasses import replace

import ibis
import numpy as np
import pyarrow.parquet as pq
import pytest

from pageopt import config
from pageopt.config import PrepareParams
from pageopt.errors import ConfigError, ContractError
from pageopt.features.batch import preparation
from pageopt.features.batch.preparation import Job
from pageopt.features.counters import HOUR
from pageopt.features.encoder import Encoder
from pageopt.features.pages import load_pages
from pageopt.features.prepared import Schema
from pageopt.features.slot_bias import SlotBias
from pageopt.features.store.base import AS_IT_STANDS, EventRow, PageRow
from pageopt.features.store.snapshot import UserSnapshot
from pageopt.features.store.sqlite import SqliteUserStore
from pageopt.problems.item import ITEM
from pageopt.tables.database import database

PARAMS = PrepareParams.model_validate(
    {
        "session_gap_minutes": 30,
        "purchase_window_hours": 48,
        "attribution": {"decay": 0.5, "scale": 2.0},
        "slot_bias": {"by_platform": True, "smoothing_views": 50, "max_weight": 10},
        "sampling": {"seed": 1, "no_interaction_rate": 0.5, "production_to_exploration": 0.5},
        "split": {"train": 0.7, "valid": 0.1, "test": 0.2},
        "counters": {
            "half_lives_hours": [1, 24],
            "kinds": ["view", "click", "cart"],
            "topics": 3,
            "lifts": ["family", "theme"],
            "lift_half_lives_hours": [24, 720],
            "prior_clicks": 1,
        },
        "encoder": {"min_count": 3, "title_tokens": 4, "vocabulary": 100},
        "memory_limit": "512MB",
        "threads": 1,
    }
)
SPLITS = ("train", "valid", "test")


def prepare(logs, folder, params=PARAMS, features=None):
    checked = logs.write(folder / "checked")
    with database(folder / "scratch", params.memory_limit, params.threads) as connection:
        return preparation.prepare(
            Job(connection, ITEM, checked, folder / "prepared", params, features or logs.features)
        )


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def prepared(random_logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    logs = random_logs()
    report = prepare(logs, folder)
    return logs, folder / "prepared", report


@pytest.fixture(scope="module")
def rows(prepared):
    """Prepared pages by page_id, each with its split."""
    _, folder, _ = prepared
    return {
        row["page_id"]: row | {"split": split}
        for split in SPLITS
        for row in pq.read_table(folder / split, partitioning=None).to_pylist()
    }


def test_every_page_is_itself(prepared, rows) -> None:
    logs, *_ = prepared
    items = {item["item_id"]: item for item in logs.rows["items"]}
    users = {user["user_id"]: user for user in logs.rows["users"]}
    impressions = {(i["page_id"], i["slot"]): i for i in logs.rows["impressions"]}
    for page in logs.rows["pages"]:
        row = rows.get(page["page_id"])
        if row is None:
            continue
        item = items[page["hero_item_id"]]
        assert row["ts"].timestamp() * 1e6 == pytest.approx(page["ts"], abs=1)
        for name in ("user_id", "policy", "platform", "hero_item_id", "referrer", "hour"):
            assert row[name] == page[name]
        assert (row["hero_category"], row["hero_title"]) == (item["category"], item["title"])
        assert (row["hero_price"], row["blurb"]) == (item["price"], item["blurb"])
        assert row["tier"] == users.get(page["user_id"], {"tier": None})["tier"]
        for slot in range(4):
            shown = impressions.get((page["page_id"], slot + 1))
            assert row["module"][slot] == (-1 if shown is None else int(shown["module_id"][1:]))
            if shown is None or shown["propensity"] is None:
                assert np.isnan(row["propensity"][slot])
            else:
                assert row["propensity"][slot] == shown["propensity"]
        if row["split"] != "train":
            assert [f"m{m:02}" for m in row["candidates"]] == page["candidates"]


def test_labels(prepared, rows) -> None:
    logs, _, report = prepared
    expected = {page_id: {name: [0] * 4 for name in ("click", "intent", "purchase")} for page_id in rows}
    name_of = {"click": "click", "watch": "intent", "cart": "intent", "purchase": "purchase"}
    events = sorted(logs.rows["events"], key=lambda e: (e["ts"], e["event_id"]))
    last, lost = {}, 0
    for event in events:
        visitor = event["user_id"] or event["page_id"]
        target = (event["page_id"], event["slot"])
        if event["page_id"] is not None and event["slot"] is None:
            shown = [
                (i["page_id"], i["slot"]) for i in logs.rows["impressions"] if i["module_id"] == event["module_id"]
            ]
            target = next(cell for cell in shown if cell[0] == event["page_id"])
        if event["page_id"] is None:
            at, target = last.get((visitor, event["item_id"]), (-(10**18), None))
            if event["ts"] - at > 48 * HOUR:
                lost += event["kind"] == "purchase"
                continue
        if event["kind"] == "click":
            last[visitor, event["item_id"]] = (event["ts"], target)
        if target is not None and target[0] in expected:
            expected[target[0]][name_of[event["kind"]]][target[1] - 1] = 1
    for page_id, labels in expected.items():
        for name, values in labels.items():
            assert rows[page_id][name] == values, (page_id, name)
        attributed = np.array(rows[page_id]["attributed"])
        assert ((attributed >= 0) & (attributed <= 1)).all()
        assert (attributed[np.array(rows[page_id]["click"]) == 0] == 0).all()
        assert (attributed[np.array(labels["click"]) * np.array(labels["purchase"]) == 1] == 1).all()
    assert sum(sum(row["attributed"]) for row in rows.values()) > 5
    purchases = sum(event["kind"] == "purchase" for event in events)
    assert report.uncredited == {"zero_label": 0, "untraced": pytest.approx(lost / purchases)}
    assert lost > 0


def test_split_and_sampling(prepared, rows) -> None:
    logs, _, report = prepared
    last = {split: max(row["ts"] for row in rows.values() if row["split"] == split) for split in SPLITS}
    first = {split: min(row["ts"] for row in rows.values() if row["split"] == split) for split in SPLITS}
    assert last["train"] < first["valid"] <= last["valid"] < first["test"]
    ordered = sorted(logs.rows["pages"], key=lambda page: (page["ts"], page["page_id"]))
    later = {page["page_id"] for page in ordered[round(0.7 * len(ordered)) + 60 :]}
    assert later <= rows.keys()  # valid and test are whole
    for split in SPLITS:
        mine = [row for row in rows.values() if row["split"] == split]
        assert mine == sorted(mine, key=lambda row: (row["ts"], row["page_id"]))
        assert report.pages[split] == len(mine)
        quiet = [row for row in mine if not any(row["click"] + row["intent"] + row["purchase"])]
        assert {row["weight"] for row in mine if row not in quiet} == {1.0}
        assert {row["weight"] for row in quiet} == ({2.0} if split == "train" else {1.0})
    assert 0 < report.kept_rate["production"] < 1


def test_schema_modules_and_curves(prepared) -> None:
    logs, folder, report = prepared
    schema = Schema.read(folder / "schema.json")
    assert (schema.slots, schema.modules, schema.observed) == (4, 12, "pages")
    assert schema.families == ("brand", "deals", "new", "similar")
    assert schema.has_purchase
    assert schema.has_intent
    assert schema.pages == report.pages
    encoder = Encoder.load(folder / "encoder")
    assert encoder.page_fields == schema.fields
    assert encoder.module_fields == schema.module_fields
    modules = pq.read_table(folder / "modules.parquet").to_pylist()
    assert [m["module_id"] for m in modules] == [f"m{n:02}" for n in range(12)] == list(encoder.module_ids)
    assert [encoder.families[f] for f in encoder.module_family] == [m["family"] for m in modules]
    assert all(0 < m["ctr"] < 1 and m["clicks"] <= m["views"] for m in modules)
    assert modules[2]["age_days"] == 4.0
    bias = SlotBias.read(folder / "slot_bias.json")
    assert list(bias.click) == ["all", "app", "web"]
    assert bias.platforms == ["app", "web"]
    assert all(curve[0] == 1 and len(curve) == 4 for kind in (bias.click, bias.purchase) for curve in kind.values())
    exploring = {"random", "thompson"}
    pages = sorted(logs.rows["pages"], key=lambda page: (page["ts"], page["page_id"]))
    cut = Schema.read(folder / "schema.json").pages
    train = pages[: len(pages) - cut["valid"] - cut["test"]]
    shown = {p["page_id"] for p in train if p["policy"] in exploring}
    assert sum(m["views"] for m in modules) == sum(i["page_id"] in shown for i in logs.rows["impressions"])
    random = {p["page_id"] for p in train if p["policy"] == "random"}
    assert sum(bias.views["all"]) == sum(i["page_id"] in random for i in logs.rows["impressions"])


def test_load_pages(prepared, rows) -> None:
    _, folder, _ = prepared
    encoder = Encoder.load(folder / "encoder")
    for split in SPLITS:
        pages = load_pages(folder / split, encoder)
        mine = [row for row in rows.values() if row["split"] == split]
        assert pages.page_id.tolist() == [row["page_id"] for row in mine]
        assert pages.user_id.tolist() == [row["user_id"] for row in mine]
        assert pages.policy.tolist() == [row["policy"] for row in mine]
        assert pages.ts.tolist() == [round(row["ts"].timestamp() * 1e6) for row in mine]
        assert np.array_equal(pages.module, [row["module"] for row in mine])
        assert np.array_equal(pages.observed, pages.module >= 0)
        assert np.array_equal(pages.propensity, [row["propensity"] for row in mine], equal_nan=True)
        for name in ("click", "intent", "purchase", "attributed"):
            assert np.array_equal(getattr(pages, name), np.array([row[name] for row in mine], dtype=np.float32))
        names = [field.name for field in encoder.page_fields]
        again = encoder.encode({name: [row[name] for row in mine] for name in names})
        assert np.array_equal(pages.encoded.categorical, again.categorical)
        assert np.array_equal(pages.encoded.numeric, again.numeric)
        assert np.array_equal(pages.encoded.tokens, again.tokens)
        assert list(pages.fields) == names
        assert pages.fields["hero_category"].tolist() == [row["hero_category"] for row in mine]
        assert pages.fields["hour"].tolist() == [row["hour"] for row in mine]
        assert encoder.categories["platform"].values[pages.platform_index[0] - 2] == pages.platform[0]
        if split == "train":
            assert pages.candidates is None
        else:
            lists = [[m for m in row if m >= 0] for row in pages.candidates.tolist()]
            assert lists == [row["candidates"] for row in mine]


@pytest.fixture(scope="module")
def nightly(random_logs, tmp_path_factory):
    """The snapshot of a log that ends in the middle, and the page that every user would be shown at its very end."""
    logs, folder = random_logs(), tmp_path_factory.mktemp("nightly")
    cut = sorted(page["ts"] for page in logs.rows["pages"])[len(logs.rows["pages"]) // 2]
    for name in ("pages", "events"):
        logs.rows[name] = [row for row in logs.rows[name] if row["ts"] < cut]
    left = {page["page_id"] for page in logs.rows["pages"]}
    logs.rows["impressions"] = [row for row in logs.rows["impressions"] if row["page_id"] in left]
    prepare(logs, folder / "until")
    snapshot = UserSnapshot(folder / "until" / "prepared" / "users.sqlite")
    for number in range(30):
        ids = {"page_id": f"z{number:02}", "user_id": f"u{number:02}", "hero_item_id": f"i{number:02}"}
        logs.rows["pages"].append({**logs.rows["pages"][0], **ids, "ts": snapshot.reference_us})
        shown = {"page_id": ids["page_id"], "slot": 1, "module_id": "m03", "propensity": None}
        logs.rows["impressions"].append(shown)
    prepare(logs, folder / "end")
    table = pq.read_table(folder / "end" / "prepared" / "test", partitioning=None)
    return snapshot, folder / "end" / "prepared", [row for row in table.to_pylist() if row["page_id"].startswith("z")]


def reading_as(snapshot: UserSnapshot, prepared) -> UserSnapshot:
    """What is usual is learned from each log's own train split: here the snapshot is told what `prepared` learned."""
    snapshot.layout = replace(snapshot.layout, lifts=Schema.read(prepared / "schema.json").counters.lifts)
    return snapshot


def assert_as_prepared(features, row) -> None:
    for name, value in features.items():
        if isinstance(value, float):
            assert row[name] == pytest.approx(value, rel=1e-6, abs=1e-9), (row["page_id"], name)
        else:
            assert row[name] == value, (row["page_id"], name)


def test_serving_counts_as_the_batch_does(prepared, nightly) -> None:
    """A page at the very end of the log gets from the snapshot what the batch gives it: nothing of the page itself."""
    logs, folder, _ = prepared
    end = UserSnapshot(folder / "users.sqlite").reference_us
    assert end == 1 + max(row["ts"] for name in ("pages", "events") for row in logs.rows[name])
    snapshot, ended, last = nightly
    snapshot = reading_as(snapshot, ended)
    assert snapshot.declared == ("tier",)
    assert len(last) == 30
    for row in last:
        assert_as_prepared(snapshot.features(row["user_id"], row["hero_category"], snapshot.reference_us), row)


@pytest.mark.parametrize("arrival", ["in order", "shuffled", "threefold"])
def test_snapshot_and_events_since_give_every_later_page_what_the_batch_gives_it(
    prepared, rows, nightly, tmp_path, arrival
) -> None:
    logs, folder, _ = prepared
    snapshot = reading_as(nightly[0], folder)
    modules: dict[str, list[str]] = {}
    for impression in sorted(logs.rows["impressions"], key=lambda row: row["slot"]):
        modules.setdefault(impression["page_id"], []).append(impression["module_id"])
    pages = [
        PageRow(*(row[name] for name in ("page_id", "ts", "user_id", "hero_item_id")), tuple(modules[row["page_id"]]))
        for row in logs.rows["pages"]
    ]
    events = [EventRow(**row) for row in sorted(logs.rows["events"], key=lambda row: (row["ts"], row["event_id"]))]
    if arrival != "in order":
        np.random.default_rng(3).shuffle(events)
        np.random.default_rng(4).shuffle(pages)
    store = SqliteUserStore(tmp_path / "events.sqlite", snapshot)
    times = 3 if arrival == "threefold" else 1
    assert [store.fold(events) for _ in range(times)] == [len(events), 0, 0][:times]
    known = sum(page.user_id is not None for page in pages)
    assert [store.see(pages) for _ in range(times)] == [known, 0, 0][:times]
    later = 0
    for row in rows.values():
        us = round(row["ts"].timestamp() * 1e6)
        if us >= snapshot.reference_us:
            assert_as_prepared(store.features(row["user_id"], row["hero_category"], us), row)
            later += row["user_id"] is not None
    assert later > 200


def test_the_same_logs_give_the_same_bytes(prepared, random_logs, tmp_path) -> None:
    _, folder, report = prepared
    again = prepare(random_logs(), tmp_path)
    assert files(tmp_path / "prepared") == files(folder)
    assert again == report
    assert not (tmp_path / "scratch").exists()


def test_nothing_of_a_page_knows_its_future(prepared, rows, random_logs, tmp_path) -> None:
    """Plant many events at and after one page's time: its features and those of all earlier pages stay as they were."""
    logs = random_logs()
    victim = next(row for row in rows.values() if row["split"] == "valid" and row["user_id"] is not None)
    us = round(victim["ts"].timestamp() * 1e6)
    shown = next(i for i in logs.rows["impressions"] if i["page_id"] == victim["page_id"])
    for number in range(20):
        event = {"event_id": f"x{number}", "ts": us + number // 10, "user_id": victim["user_id"], "item_id": "i00"}
        logs.rows["events"].append({**event, "kind": ("click", "purchase")[number % 2], "price": 1.0, **shown})
    report = prepare(logs, tmp_path)
    assert report.clicks["valid"] >= 1
    names = [f.name for f in Schema.read(tmp_path / "prepared" / "schema.json").fields]
    changed = 0
    for split in SPLITS:
        for row in pq.read_table(tmp_path / "prepared" / split, partitioning=None).to_pylist():
            before = rows.get(row["page_id"])
            if before is not None and row["ts"] <= victim["ts"]:
                assert [row[name] for name in names] == [before[name] for name in names], row["page_id"]
            elif before is not None:
                changed += [row[name] for name in names] != [before[name] for name in names]
    assert changed > 0  # and the plant is not invisible: later pages of that user do know


def test_a_leaky_feature_stops_the_stage(random_logs, tmp_path, monkeypatch) -> None:
    """Should the batch features ever see a page's own clicks, prepare says so instead of writing them."""
    from pageopt.features.batch import user_features

    honest = user_features.decayed_at

    def leaky(points, *args):
        return honest(points._replace(us=points.us + 10 * 60_000_000), *args)

    monkeypatch.setattr(user_features, "decayed_at", leaky)
    with pytest.raises(ContractError, match="events at or after the page's own time"):
        prepare(random_logs(), tmp_path)


def test_chunks_do_not_show(prepared, random_logs, tmp_path, monkeypatch) -> None:
    from pageopt.features.batch import logs, page_writer

    _, folder, _ = prepared
    monkeypatch.setattr(logs, "CHUNK_ROWS", 600)
    monkeypatch.setattr(page_writer, "ROW_GROUP", 20)
    prepare(random_logs(), tmp_path)
    for split in SPLITS:
        one, other = (pq.read_table(path / split, partitioning=None) for path in (folder, tmp_path / "prepared"))
        assert one.drop("propensity").equals(other.drop("propensity"))
        flat = (table["propensity"].combine_chunks().flatten().to_numpy() for table in (one, other))
        assert np.array_equal(*flat, equal_nan=True)  # which Arrow's equals has no word for
    assert len(list((tmp_path / "prepared" / "train").glob("*.parquet"))) > 1
    first, second = (UserSnapshot(path / "users.sqlite") for path in (folder, tmp_path / "prepared"))
    assert first.user_ids() == second.user_ids()
    for user_id in first.user_ids():
        if first.get(user_id) is not None:  # doubles may differ in their last bit: sums are cut elsewhere
            for name, values in first.get(user_id).values.items():
                np.testing.assert_allclose(values, second.get(user_id).values[name], rtol=1e-13)


def test_logs_of_one_policy_without_users_or_events(random_logs, tmp_path) -> None:
    logs = random_logs(pages=200, declared=False)
    logs.rows["events"] = []
    for page in logs.rows["pages"]:
        page |= {"policy": "production", "user_id": None}
    report = prepare(logs, tmp_path)
    assert len(report.notes) == 2
    assert report.users == 0
    bias = SlotBias.read(tmp_path / "prepared" / "slot_bias.json")
    assert bias.click["all"] == [1, 1, 1, 1]
    schema = Schema.read(tmp_path / "prepared" / "schema.json")
    assert not schema.has_purchase
    pages = load_pages(tmp_path / "prepared" / "test", Encoder.load(tmp_path / "prepared" / "encoder"))
    assert len(pages) == 40
    assert (
        UserSnapshot(tmp_path / "prepared" / "users.sqlite").features("u01", "hats", AS_IT_STANDS)["user_click_1h"] == 0
    )


def test_single_slots_and_thompson_only(random_logs, tmp_path) -> None:
    logs = random_logs(pages=300, declared=False)
    logs.rows["impressions"] = [i for i in logs.rows["impressions"] if i["slot"] == 1 + int(i["page_id"][1:]) % 2]
    for page in logs.rows["pages"]:
        page["policy"] = "thompson" if page["policy"] == "random" else page["policy"]
    report = prepare(logs, tmp_path)
    assert any("thompson" in note for note in report.notes)
    assert Schema.read(tmp_path / "prepared" / "schema.json").observed == "single"


def test_missing_tables_say_which_stage_to_run(random_logs, tmp_path) -> None:
    logs = random_logs(pages=100)
    checked = logs.write(tmp_path / "checked")
    for part in (checked / "items").glob("*.parquet"):
        part.unlink()
    with (
        database(tmp_path / "scratch", "512MB", 1) as connection,
        pytest.raises(ContractError, match="Run stage check"),
    ):
        preparation.prepare(Job(connection, ITEM, checked, tmp_path / "prepared", PARAMS, logs.features))


def test_a_declared_name_that_is_taken(random_logs, tmp_path) -> None:
    logs = random_logs(pages=100, declared=False)
    features = config.FeatureParams.model_validate({"pages": [{"name": "click", "kind": "numeric"}]})
    with pytest.raises(ConfigError, match="click"):
        prepare(logs, tmp_path, features=features)


def test_scratch_of_a_killed_run_is_no_obstacle(tmp_path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "tables.duckdb").write_bytes(b"half a database")
    with database(tmp_path / "scratch", "512MB", 1) as connection:
        connection.create_table("t", ibis.memtable({"a": [1]}))
    assert not (tmp_path / "scratch").exists()
