"""The page decision without PyTorch: encoder and exported graph of one bundle."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageopt.engine.bundle import Bundle
from pageopt.engine.session import open_session
from pageopt.errors import ExportError
from pageopt.features.encoder import Encoder
from pageopt.policies.decision import Decision
from pageopt.problems.all import problem_of

# Pages times candidates of one call of the graph: what it holds between nodes should fit the processor's cache.
_CELLS = 2048
_INPUTS = frozenset({"categorical", "numeric", "tokens", "candidates", "available", "slots"})
_OUTPUTS = ["chosen", "probabilities", "score"]
_REBUILD = Bundle.MEND


class PageEngine:
    """One loaded bundle, ready to decide pages.

    bundle_dir: page.onnx, encoder/ and bundle.json, as the stage `export` writes them.
    Raises ExportError, naming the file, if one is missing, broken, or does not fit the others.
    """

    def __init__(self, bundle_dir: Path) -> None:
        bundle_dir = Path(bundle_dir)
        for name in ("bundle.json", "page.onnx", "encoder"):
            if not (bundle_dir / name).exists():
                raise ExportError(f"{bundle_dir / name} is missing. {_REBUILD}")
        facts = Bundle.read(bundle_dir / "bundle.json")
        self._encoder = _load(bundle_dir / "encoder", Encoder.load)
        self.problem = _load(bundle_dir / "bundle.json", lambda _: problem_of(facts.problem))
        self.slots = facts.slots
        self.policy = facts.policy
        self.max_candidates = facts.max_candidates
        self.module_ids: tuple[str, ...] = tuple(self._encoder.module_ids)
        self.families: tuple[str, ...] = tuple(self._encoder.families)
        self.module_family: NDArray[np.int64] = self._encoder.module_family
        self.static_page = facts.static_page
        self.module_index: dict[str, int] = {module_id: i for i, module_id in enumerate(self.module_ids)}
        self.page_fields = self._encoder.page_fields
        if self.slots != self._encoder.slots or sorted(self.static_page) != list(range(len(self.module_ids))):
            raise ExportError(
                f"{bundle_dir / 'bundle.json'} and {bundle_dir / 'encoder'} are of two models. {_REBUILD}"
            )
        self._session = _load(bundle_dir / "page.onnx", open_session)
        self.graph = hashlib.sha256((bundle_dir / "page.onnx").read_bytes()).hexdigest()
        self._inputs = {each.name for each in self._session.get_inputs()}
        if not self._inputs <= _INPUTS or not set(_OUTPUTS) <= {each.name for each in self._session.get_outputs()}:
            raise ExportError(
                f"{bundle_dir / 'page.onnx'} has inputs {sorted(self._inputs)}; a page graph takes {sorted(_INPUTS)} "
                f"and gives {_OUTPUTS}. {_REBUILD}"
            )
        self._warm_up(bundle_dir / "page.onnx")

    def rank_batch(
        self,
        fields: Mapping[str, Sequence[Any] | NDArray[Any]],
        candidates: NDArray[np.int64],
        slots: NDArray[np.int64] | None = None,
        threads: int = 1,
    ) -> Decision:
        """Decide many pages; memory is bounded by working through them in chunks, `threads` at a time.

        fields: raw columns by name, each [P]; a column that is not there is missing on every page.
        candidates: [P, N], module indices in the order in which ties are broken, padded with -1.
        slots: [P], how many slots each page has, 1 to K; default K.
        """
        candidates = np.asarray(candidates, dtype=np.int64)
        if candidates.ndim != 2:
            raise ValueError(f"candidates must be [pages, candidates], not {candidates.shape}")
        pages = len(candidates)
        if candidates.shape[1] == 0:
            candidates = np.full((pages, 1), -1, dtype=np.int64)
        wanted = np.full(pages, self.slots, dtype=np.int64) if slots is None else np.asarray(slots, dtype=np.int64)
        result = Decision.empty(pages, self.slots)
        step = max(1, _CELLS // candidates.shape[1])

        def run(start: int) -> None:
            part = slice(start, min(start + step, pages))
            self._run(result, part, {name: column[part] for name, column in fields.items()}, candidates, wanted)

        starts = range(0, pages, step)
        if threads == 1 or len(starts) < 2:
            for start in starts:
                run(start)
        else:
            with ThreadPoolExecutor(max_workers=threads) as pool:
                list(pool.map(run, starts))
        return result

    def rank_one(self, fields: Mapping[str, Any], candidates: Sequence[int], slots: int | None = None) -> Decision:
        """Decide one page from raw values by name; the arrays of the Decision have P = 1."""
        return self.rank_batch(
            {name: (value,) for name, value in fields.items()},
            np.asarray(candidates, dtype=np.int64).reshape(1, -1),
            None if slots is None else np.array([slots], dtype=np.int64),
        )

    def _run(
        self,
        result: Decision,
        part: slice,
        fields: Mapping[str, Any],
        candidates: NDArray[np.int64],
        slots: NDArray[np.int64],
    ) -> None:
        encoded = self._encoder.encode(fields)
        rows = candidates[part]
        available = rows >= 0
        feed = {
            "categorical": encoded.categorical,
            "numeric": encoded.numeric,
            "tokens": encoded.tokens,
            "candidates": np.where(available, rows, 0),
            "available": available,
            "slots": slots[part],
        }
        chosen, probabilities, score = self._session.run(_OUTPUTS, {name: feed[name] for name in self._inputs})
        result.put(part, rows, chosen, probabilities, score)

    def _warm_up(self, path: Path) -> None:
        """One page, so that the first visitor does not pay for allocations and a broken graph is found now."""
        try:
            decision = self.rank_one({self.page_fields[0].name: None}, range(len(self.module_ids)))
        except Exception as error:  # ONNX Runtime has no narrower base class
            raise ExportError(f"{path} cannot decide a page: {error}. {_REBUILD}") from error
        if not (np.isfinite(decision.probabilities).all() and np.isfinite(decision.score).all()):
            raise ExportError(f"{path} decides a page with numbers that are not finite. {_REBUILD}")


def _load(path: Path, read: Any) -> Any:
    try:
        return read(path)
    except ExportError:
        raise
    except Exception as error:  # each format has its own errors; the file's name is what helps
        raise ExportError(f"{path} cannot be loaded: {error}. {_REBUILD}") from error
