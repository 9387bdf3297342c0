"""A file that one part writes and another reads: what is written again is the same text, and what is wrong is named."""

from pathlib import Path

import pytest

from pageopt.artefact import Artefact
from pageopt.check.findings import CheckReport, Shape
from pageopt.engine.bundle import Bundle, Origin
from pageopt.errors import ContractError, EvaluationError, PageoptError
from pageopt.evaluation.estimators import ESTIMATORS
from pageopt.evaluation.figures import Evaluation, Figure, ModelFigures
from pageopt.evaluation.policy_value import METRICS
from pageopt.features.counters import CounterLayout
from pageopt.features.prepared import PrepareReport, Schema
from pageopt.features.slot_bias import SlotBias
from pageopt.problems.fields import Field

SPLITS = {"train": 7, "valid": 2, "test": 1}
ARTEFACTS = (
    Shape(3, {"pages": 4}, "2026-01-05T06:11:03+00:00", None, None),
    CheckReport({"pages": 4}, {"pages": {"a price of NaN": 2}}, 1 / 3, {"pages": ["colour"]}),
    Schema(
        slots=3,
        families=("schuhe für draußen",),
        modules=2,
        observed="single",
        has_purchase=True,
        has_intent=False,
        fields=(Field("platform", "categorical", "page"),),
        module_fields=(),
        pages=SPLITS,
        clicks=SPLITS,
        counters=CounterLayout((1.0, 24.0), ("click",), ("b",), ("00",), {"family": {"schuhe für draußen": 0.1}}),
    ),
    PrepareReport(
        pages=SPLITS,
        clicks=SPLITS,
        intents=SPLITS,
        purchases=SPLITS,
        traffic={"train": {"random": {"pages": 7}}},
        events={"click": {"logged": 3}},
        uncredited={"zero_label": 0.1, "untraced": None},
        kept_rate={"no_interaction": 0.4},
        examination={"click": [1.0, 1e-05]},
        users=2,
        fields=1,
        notes=["θ is 1"],
    ),
    SlotBias(2, ["app"], {"all": [1.0, 0.1 + 0.2]}, {"all": [1.0, 1e22]}, {"all": [5, 5]}),
    Bundle(
        policy="trnn",
        slots=3,
        width=2,
        beam_start=1,
        objective="purchase",
        heads=("click",),
        trained_heads=("click",),
        above="chosen",
        families=1,
        modules=2,
        max_candidates=9,
        static_page=(1, 0),
        created_from=Origin("a", "b", "c"),
    ),
)


@pytest.mark.parametrize("artefact", ARTEFACTS, ids=lambda artefact: type(artefact).__name__)
def test_what_is_read_and_written_again_is_the_same_text(artefact: Artefact, tmp_path: Path):
    artefact.write(tmp_path / "new" / "first.json")
    read = type(artefact).read(tmp_path / "new" / "first.json")
    assert read == artefact
    read.write(tmp_path / "second.json")
    text = (tmp_path / "second.json").read_bytes()
    assert text == (tmp_path / "new" / "first.json").read_bytes()
    assert text.endswith(b"\n}\n")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"slots": "three"}', "$.slots"),
        ('{"slots": 3}', "rows"),
        ('{"slots": 3, "rows": {}, "first_page_ts": 0, "last_page_ts": null, "last_event_ts": null}', "first_page_ts"),
        ('{"depth": 3}', "depth"),
        ("{", "truncated"),
        (None, "is missing"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_field_and_what_to_do(text: str, field: str, tmp_path: Path):
    if text is not None:
        (tmp_path / "shape.json").write_text(text)
    with pytest.raises(ContractError, match=rf"shape\.json .*({field.replace('$', '[$]')}).*dvc repro check"):
        Shape.read(tmp_path / "shape.json")


def test_numbers_that_json_does_not_know_are_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match="Out of range"):
        SlotBias(1, [], {"all": [float("nan")]}, {}, {}).write(tmp_path / "slot_bias.json")
    assert not (tmp_path / "slot_bias.json").exists()


def test_a_bundle_of_another_version_is_read_if_it_can_decide_a_page(tmp_path: Path):
    """Champions stay in the registry for long: what their bundle says of more than today's is read over."""
    bundle = next(artefact for artefact in ARTEFACTS if isinstance(artefact, Bundle))
    bundle.write(tmp_path / "bundle.json")
    text = (tmp_path / "bundle.json").read_text().replace('"above": "chosen"', '"history": "chosen"')
    (tmp_path / "bundle.json").write_text(text)
    assert Bundle.read(tmp_path / "bundle.json").static_page == (1, 0)
    (tmp_path / "bundle.json").write_text(text.replace('"slots": 3', '"slots": 0'))
    with pytest.raises(PageoptError, match=r"slots"):
        Bundle.read(tmp_path / "bundle.json")


def test_every_estimator_has_a_figure_of_every_metric_in_the_evaluation():
    assert {f"{metric}_{name}" for metric in METRICS for name in ESTIMATORS} <= set(ModelFigures.__struct_fields__)
    figures = ModelFigures(ctr_dr=Figure(0.3, 0.2, 0.4), true_ctr=Figure.exactly(0.3))
    assert list(figures.figures()) == ["ctr_dr", "true_ctr"]
    assert figures.figure("ptr_dr") is None
    with pytest.raises(AttributeError):
        figures.figure("ctr_drr")
    with pytest.raises(TypeError, match="ctr_drr"):
        ModelFigures(ctr_drr=Figure.exactly(0.3))


def test_a_renamed_metric_is_not_read_over(tmp_path: Path):
    text = '{"pages": {"test": 1, "estimated_on": 1, "users": 1, "policies": [], "single_slots": false, '
    text += '"no_cascade_dr": null}, "models": {"trnn": {"ctr_doubly_robust": {"value": 1, "low": 1, "high": 1}}}}'
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(EvaluationError, match=r"evaluation\.json .*ctr_doubly_robust"):
        Evaluation.read(tmp_path / "evaluation.json")
