"""Trials: each trains the page network with other params and is judged on the validation split.

No test page is read, so that the figures of a release stay what they are: of pages that nothing was chosen by.
"""

import hashlib

from pageopt.config import PrepareParams, SearchParams, TrainParams, TuneParams, load
from pageopt.features.encoder import Encoder
from pageopt.features.pages import load_pages
from pageopt.features.prepared import Schema
from pageopt.features.slot_bias import SlotBias
from pageopt.models.common.record import TrainingRecord
from pageopt.models.item.data import PageTensors, page_tensors
from pageopt.models.item.fit import fit
from pageopt.studies.tuning.space import Value, with_values
from pageopt.workspace import Workspace


class Search:
    """The trials of one project: what they share is read once. Raises ContractError where nothing is prepared."""

    def __init__(self, workspace: Workspace) -> None:
        self.params = load(workspace.params, TuneParams)
        self._train = load(workspace.params, TrainParams)
        self._objective = load(workspace.params, SearchParams).objective
        self._max_weight = load(workspace.params, PrepareParams).slot_bias.max_weight
        prepared = workspace.prepared
        self._encoder = Encoder.load(prepared / "encoder")
        self._bias = SlotBias.read(prepared / "slot_bias.json")
        self._single = Schema.read(prepared / "schema.json").observed == "single"
        self._splits = {name: load_pages(prepared / name, self._encoder) for name in ("train", "valid")}
        self._checkpoints = workspace.checkpoints / "tune"

    def fingerprint(self) -> str:
        """Names the search by all that its trials depend on but their number: a longer search is the same one."""
        parts = [
            self.params.model_dump_json(exclude={"trials"}),
            self._train.model_dump_json(),
            str(self._max_weight),
            self._objective,
        ]
        parts += [pages.digest() for pages in self._tensors(self._train)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def trial(self, values: dict[str, Value]) -> TrainingRecord:
        """Train with `values`; one that was killed goes on from its last epoch."""
        params = with_values(self._train, values)
        train, valid = self._tensors(params)
        _, record = fit(
            self._encoder,
            params,
            train,
            valid,
            single_slots=self._single,
            objective=self._objective,
            checkpoints=self._checkpoints,
        )
        return record

    def forget_checkpoints(self) -> None:
        """Remove what interrupted trials left; to be called when all are done."""
        for path in self._checkpoints.glob("*"):
            if path.is_file():
                path.unlink()

    def _tensors(self, params: TrainParams) -> tuple[PageTensors, PageTensors]:
        bias = self._bias if params.slot_ips else None
        train, valid = (
            page_tensors(self._splits[name], params.losses, bias, self._max_weight) for name in ("train", "valid")
        )
        return train, valid
