"""From a trained model to the bundle that serving reads: page.onnx, encoder/, users.sqlite, bundle.json."""

import hashlib
import logging
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from pageopt.config import SearchParams
from pageopt.engine.bundle import Bundle, Origin
from pageopt.engine.session import open_session
from pageopt.errors import ExportError
from pageopt.features.encoder import Encoder
from pageopt.features.prepared import module_ctr
from pageopt.models.item.heads import HEADS
from pageopt.models.item.network import PageNetwork
from pageopt.models.item.network_config import NetworkConfig
from pageopt.policies.static import static_order
from pageopt.search.graph import INPUT_NAMES, OUTPUT_NAMES, PageGraph

# The sizes that the exporter sees; the comparison after it uses others.
TRACED_PAGES, TRACED_CANDIDATES = 3, 7
_FIRST_LOAD = """
import pathlib, sys
from pageopt.engine.page_engine import PageEngine
from pageopt.features.store.snapshot import UserSnapshot
bundle = pathlib.Path(sys.argv[1])
PageEngine(bundle), UserSnapshot(bundle / "users.sqlite")
"""


@dataclass(frozen=True)
class Fidelity:
    """PyTorch and ONNX Runtime on the same random pages: pages tried, pages decided differently between equal scores,
    largest difference of a probability or score, and the candidate counts.
    """

    pages: int
    ties: int
    error: float
    counts: tuple[int, ...]


def page_onnx(graph: PageGraph, config: NetworkConfig) -> onnx.ModelProto:
    """`graph` as one ONNX model, weights inside, any number of pages and candidates.

    Only what runs is kept: no names of files and lines of the machine that exported it, so that equal models give equal
    bytes. Raises ExportError where PyTorch or the ONNX checker refuses it.
    """
    pages = torch.export.Dim("pages", min=1)
    candidates = torch.export.Dim("candidates", min=1)
    by_page, by_candidate = {0: pages}, {0: pages, 1: candidates}
    try:
        with _quiet(), torch.inference_mode():
            program = torch.onnx.export(
                graph.eval(),
                random_inputs(config, TRACED_PAGES, min(TRACED_CANDIDATES, config.modules)),
                dynamo=True,
                verbose=False,
                input_names=INPUT_NAMES,
                output_names=OUTPUT_NAMES,
                dynamic_shapes=(by_page, by_page, by_page, by_candidate, by_candidate, by_page),
            )
        if program is None:
            raise ExportError("torch.onnx.export gave no program. See its output above.")
        proto = program.model_proto
        _strip(proto)
        onnx.checker.check_model(proto, full_check=True)
    except (torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError) as error:
        raise ExportError(f"The page graph cannot be written as ONNX: {error}") from error
    return proto


def random_inputs(config: NetworkConfig, pages: int, candidates: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Arguments of `PageGraph.forward`: random pages of mixed lengths, each with different modules, one in ten missing.

    `candidates` is at most the number of modules.
    """
    random = np.random.default_rng((seed, pages, candidates))
    codes = [random.integers(0, cardinality, pages) for cardinality in config.cardinalities]
    arrays = (
        np.column_stack(codes) if codes else np.zeros((pages, 0), dtype=np.int64),
        random.normal(size=(pages, config.numerics)).astype(np.float32),
        random.integers(0, config.vocabulary, (pages, config.texts, config.title_tokens)),
        random.random((pages, config.modules)).argsort(1)[:, :candidates],
        random.random((pages, candidates)) < 0.9,
        random.integers(1, config.slots + 1, pages),
    )
    return tuple(map(torch.from_numpy, arrays))


def compare(
    graph: PageGraph, config: NetworkConfig, onnx_file: Path, tolerance: float, counts: Sequence[int]
) -> Fidelity:
    """Hold the written graph against the eager one on random pages with `counts` candidates.

    Raises ExportError where a probability or score differs by more than `tolerance`, or a page differs whose score does
    not tie within it.
    """
    session = open_session(onnx_file)
    taken = {each.name for each in session.get_inputs()}
    pages = ties = 0
    error = 0.0
    for count in counts:
        inputs = random_inputs(config, 32, count)
        with torch.inference_mode():
            chosen, probability, score = (value.numpy() for value in graph(*inputs))
        feed = {name: value.numpy() for name, value in zip(INPUT_NAMES, inputs, strict=True) if name in taken}
        onnx_chosen, onnx_probability, onnx_score = session.run(list(OUTPUT_NAMES), feed)
        same = (chosen == onnx_chosen).all(1)
        apart = max(np.abs(score - onnx_score).max(), np.abs(probability[same] - onnx_probability[same]).max(initial=0))
        if not apart <= tolerance:
            raise ExportError(
                f"PyTorch and ONNX Runtime differ by {apart:.2g} at {count} candidates, more than {tolerance:.2g} "
                "(export.pass_tolerance). The exporter has mistranslated a node: do not release this bundle."
            )
        pages += len(same)
        ties += int((~same).sum())
        error = max(error, float(apart))
    return Fidelity(pages, ties, error, tuple(counts))


def write_bundle(
    folder: Path,
    problem: str,
    model: PageNetwork,
    model_folder: Path,
    prepared: Path,
    search: SearchParams,
    max_candidates: int,
) -> PageGraph:
    """Write everything that serving needs into `folder`, which is emptied first; gives the graph it wrote.

    problem: name of the page problem. model_folder and prepared: where the model was loaded from, and the encoder,
    modules and users that it was trained with. Raises ExportError where these do not fit each other, and ConfigError
    for a head the model never learned.
    """
    graph = PageGraph(model, search)
    order = static_order(module_ctr(prepared, Encoder.load(prepared / "encoder"))).tolist()
    if len(order) != model.config.modules:
        raise ExportError(
            f"{prepared} has {len(order)} modules and {model_folder} knows {model.config.modules}: "
            "the model was trained on other data. Run dvc repro train."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "page.onnx").write_bytes(page_onnx(graph, model.config).SerializeToString(deterministic=True))
    shutil.copytree(prepared / "encoder", folder / "encoder")
    shutil.copyfile(prepared / "users.sqlite", folder / "users.sqlite")
    Bundle(
        problem=problem,
        policy=model.config.architecture,
        slots=model.config.slots,
        width=search.width,
        beam_start=search.beam_start,
        objective=search.objective,
        heads=HEADS,
        trained_heads=model.config.trained_heads,
        above=model.config.above,
        families=model.config.families,
        modules=model.config.modules,
        max_candidates=max_candidates,
        static_page=tuple(order),
        created_from=Origin(digest(model_folder), digest(prepared / "encoder"), digest(prepared / "users.sqlite")),
    ).write(folder / "bundle.json")
    return graph


def first_load(bundle: Path) -> None:
    """Load the bundle and decide one page in a process of its own: a malformed graph can take its process down.

    Raises ExportError with what that process said.
    """
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_LOAD, str(bundle)], capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise ExportError(f"{bundle} cannot be loaded; the process that tried ended with {how} and said: {said[-1]}")


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names."""
    result = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            result.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
            result.update(file.read_bytes())
    return result.hexdigest()


def _strip(proto: onnx.ModelProto) -> None:
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says of itself: packages it could use, axes that share a name, its own old calls."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(before)
