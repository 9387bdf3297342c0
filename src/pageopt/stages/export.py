"""Stage export: models/network and data/prepared to models/bundle."""

from rich.console import Console

from pageopt.config import ExportParams, PageParams, SearchParams, load
from pageopt.models.item.network import load_network
from pageopt.release.export import compare, first_load, write_bundle
from pageopt.workspace import Workspace

# Candidate counts of the quick comparison; none is the one that the graph is traced at.
_COUNTS = (1, 2, 13, 60)


def run(workspace: Workspace) -> None:
    """Write the bundle, load it in another process, and hold its graph against PyTorch. Raises ExportError."""
    params, search = load(workspace.params, ExportParams), load(workspace.params, SearchParams)
    bundle, problem = workspace.bundle, load(workspace.params, PageParams).problem
    model = load_network(workspace.model)
    config = model.config
    console = Console()
    with console.status("Exporting the page graph"):
        graph = write_bundle(bundle, problem, model, workspace.model, workspace.prepared, search, params.max_candidates)
        first_load(bundle)
        counts = sorted({min(count, config.modules) for count in (*_COUNTS, config.modules)})
        fidelity = compare(graph, config, bundle / "page.onnx", params.pass_tolerance, counts)
    size = (bundle / "page.onnx").stat().st_size / 2**20
    console.print(
        f"Exported model and search as page.onnx ({size:.1f} MiB): {config.slots} slots, {search.width} beams "
        f"from slot {search.beam_start}, by {search.objective}."
    )
    console.print(
        f"ONNX Runtime against PyTorch on {fidelity.pages} random pages, "
        f"{', '.join(map(str, fidelity.counts))} candidates: largest difference {fidelity.error:.1e}, "
        f"{fidelity.ties} near-ties."
    )
