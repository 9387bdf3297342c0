"""A bundle is read whole, whatever is promoted while it is read."""

import json
import shutil
from pathlib import Path

import pytest

from pageopt.errors import ExportError, PageoptError
from pageopt.features.store.base import AS_IT_STANDS
from pageopt.features.store.snapshot import UserRow, UserSnapshot, write_snapshot
from pageopt.serving import loaded
from pageopt.serving.loaded import load_bundle


def put(bundle: Path, version: int, place: Path, age: float) -> None:
    """Put a copy of `bundle`, in which user u1 has this `age`, in `place`, as a promotion does."""
    draft = place.with_suffix(".draft")
    shutil.copytree(bundle, draft)
    layout = UserSnapshot(bundle / "users.sqlite").layout
    row = UserRow("u1", None, {"age": age})
    write_snapshot(draft / "users.sqlite", [row], layout, reference_us=0, declared=["age"])
    facts = json.loads((draft / "bundle.json").read_text())
    (draft / "bundle.json").write_text(json.dumps(facts | {"max_candidates": version}))
    release = place.parent / "release.json"
    release.unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    release.write_text(json.dumps({"model": {"version": version}}))


@pytest.mark.parametrize("part", ["PageEngine", "UserSnapshot"])
def test_a_promotion_while_it_is_read_leaves_one_model(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    place = tmp_path / "bundle"
    put(bundle, 7, place, age=7.0)
    read = getattr(loaded, part)
    waiting = [8]

    def promoted_first(path: Path) -> object:
        for version in waiting:
            waiting.remove(version)
            put(bundle, version, place, age=8.0)
        return read(path)

    monkeypatch.setattr(loaded, part, promoted_first)
    engine, users, version = load_bundle(place)
    assert (version, engine.max_candidates, users.features("u1", None, AS_IT_STANDS)["age"]) == ("8", 8, 8.0)


def test_a_bundle_that_is_broken_or_missing_is_an_error_at_once(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no model was promoted"):
        load_bundle(tmp_path / "bundle")
    broken = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    for part in ("users.sqlite", "page.onnx"):
        (broken / part).unlink()
        with pytest.raises(PageoptError, match=rf"{part} is missing"):
            load_bundle(broken)
