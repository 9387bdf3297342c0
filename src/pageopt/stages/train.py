"""Stage train: data/prepared to models/network, reports/train.json and reports/plots/training.csv."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pageopt.config import PrepareParams, SearchParams, TrainParams, load
from pageopt.features.encoder import Encoder
from pageopt.features.pages import load_pages
from pageopt.features.prepared import Schema
from pageopt.features.slot_bias import SlotBias
from pageopt.models.common.record import Epoch, TrainingRecord
from pageopt.models.item.data import page_tensors
from pageopt.models.item.fit import fit
from pageopt.models.item.network import PageNetwork
from pageopt.models.item.report import TrainReport
from pageopt.stages.metrics import write_metrics
from pageopt.workspace import Workspace


def run(workspace: Workspace) -> None:
    """Train the page model; one that was killed goes on from its last epoch and ends with the same bits."""
    params = load(workspace.params, TrainParams)
    max_weight = load(workspace.params, PrepareParams).slot_bias.max_weight
    prepared = workspace.prepared
    schema = Schema.read(prepared / "schema.json")
    bias = SlotBias.read(prepared / "slot_bias.json") if params.slot_ips else None
    encoder = Encoder.load(prepared / "encoder")

    train, valid = (
        page_tensors(load_pages(prepared / split, encoder), params.losses, bias, max_weight)
        for split in ("train", "valid")
    )
    model, record = fit(
        encoder,
        params,
        train,
        valid,
        single_slots=schema.observed == "single",
        objective=load(workspace.params, SearchParams).objective,
        checkpoints=workspace.checkpoints,
    )

    model.save(workspace.model)
    dropped = [name for name in params.losses if name not in model.config.losses]
    _report(workspace.reports, model, record, dropped, {"train": len(train), "valid": len(valid)})
    write_metrics(workspace, "train", {"relative_loss": record.best.relative, "best_epoch": record.best.epoch})
    _summary(model, record, dropped, len(train))
    # Last: until all outputs are there, a kill must find the checkpoint. After it, training again gives the same bits.
    shutil.rmtree(workspace.checkpoints, ignore_errors=True)


def _report(
    reports: Path, model: PageNetwork, record: TrainingRecord, dropped: Sequence[str], pages: dict[str, int]
) -> None:
    TrainReport(
        pages=pages,
        architecture=model.config.architecture,
        above=model.config.above,
        above_choice=_choice(record.best),
        losses=model.config.losses,
        dropped_losses=list(dropped),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        constant_losses=record.constant,
        best_epoch=record.best.epoch,
        epochs=record.epochs,
    ).write(reports / "train.json")
    plots = reports / "plots"
    plots.mkdir(exist_ok=True)
    with (plots / "training.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [f"{part}_{name}" for name in model.config.losses for part in ("train", "valid")]
        writer.writerow(["epoch", "relative", *names])
        for epoch in record.epochs:
            pairs = [value[n] for n in model.config.losses for value in (epoch.train, epoch.valid)]
            writer.writerow([epoch.epoch, epoch.relative, *pairs])


def _choice(best: Epoch) -> str | None:
    """Why the model sees the modules above, or does not, where the validation split had the choice."""
    if best.otherwise is None:
        return None
    seen, hidden = ("seen", "hidden") if best.way == "chosen" else ("hidden", "seen")
    return (
        f"The modules above a slot are {seen}, as the validation split chose: "
        f"{best.relative:.4f} of the base rate's loss, {best.otherwise:.4f} where they are {hidden}."
    )


def _summary(model: PageNetwork, record: TrainingRecord, dropped: Sequence[str], pages: int) -> None:
    console = Console()
    best = record.best
    console.print(
        f"Trained {model.config.architecture} on {pages:,} pages, losses {', '.join(model.config.losses)}; "
        f"modules above: {model.config.above}."
    )
    if dropped:
        console.print(f"[yellow]Left out {', '.join(dropped)}: the logs hold no such labels.[/yellow]")
    if choice := _choice(best):
        console.print(choice)
    parts = ", ".join(f"{n} {best.valid[n]:.5f} (constant {record.constant[n]:.5f})" for n in best.valid)
    console.print(f"Best epoch {best.epoch} of {len(record.epochs)}, validation loss: {parts}.")
    if best.relative >= 1:
        console.print("[yellow]The model knows no more than the base rates: too few interactions.[/yellow]")
