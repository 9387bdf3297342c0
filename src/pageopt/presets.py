"""Writes a scale, a source (folder presets/) and a page problem into params.yaml."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from ruamel.yaml import YAML

from pageopt import config
from pageopt.contract import TABLES
from pageopt.errors import ConfigError, PageoptError, SourceError
from pageopt.problems.all import problem_of
from pageopt.workspace import Workspace

SCALES = ("demo", "paper", "small")
SOURCES = ("simulator", "obd", "parquet")
_INBOX = "data/inbox"

Values = dict[tuple[str, ...], object]
"""Values of a YAML file by path of keys; lists are values."""


def configure(workspace: Workspace, preset: str = "", source: str = "", data: str = "", page: str = "") -> None:
    """Write a preset's and a source's values and a page problem into params.yaml, check it whole, print what changed.

    Empty arguments leave things as they are. `data` is the folder of source parquet, absolute or relative to the
    project. A source's file names the same keys as every other's: the Open Bandit Dataset needs its own values, and
    going back to another source takes them out again. Values that you edited yourself stay.

    Raises ConfigError for unknown names and invalid results, SourceError for a missing folder; params.yaml is then as
    it was.
    """
    _known("preset", preset, SCALES)
    _known("source", source, SOURCES)
    before = workspace.params.read_text(encoding="utf-8")
    try:
        changed = _write(workspace, preset, source, data, page)
        config.check_all(workspace.params)
    except PageoptError:
        workspace.params.write_text(before, encoding="utf-8")
        raise
    print(f"params.yaml: {', '.join(changed)} changed" if changed else "params.yaml: nothing to change")


def _known(what: str, name: str, names: tuple[str, ...]) -> None:
    if name and name not in names:
        raise ConfigError(f"There is no {what} '{name}'; choose one of {', '.join(names)}.")


def _write(workspace: Workspace, preset: str, source: str, data: str, page: str) -> list[str]:
    config.check_all(workspace.params)
    now = _values(workspace.params)
    previous = str(now["collect", "source"])
    source = source or previous
    wanted: Values = {}
    scale = preset or str(now["release", "preset"])
    scale_file = workspace.root / "presets" / f"{scale}.yaml"
    if preset:
        wanted |= {**_values(scale_file), ("release", "preset"): preset}
    if page:
        wanted["page", "problem"] = problem_of(page).name
    own = _values(workspace.root / "presets" / f"{source}.yaml")
    if source == "obd":
        wanted |= own
    elif source != previous:
        scaled = _values(scale_file) if scale_file.is_file() else {}
        left = _values(workspace.root / "presets" / f"{previous}.yaml")
        # what the source we leave had set, and nobody changed since
        wanted |= {key: scaled.get(key, value) for key, value in own.items() if now[key] == left[key]}
    wanted["collect", "source"] = source
    # Each simulated scale is a shop of its own: a champion of another one knows none of its modules.
    suffix = f"-{scale}" if source == "simulator" and scale != "demo" else ""
    wanted["release", "model_name"] = f"{own['release', 'model_name']}{suffix}"
    wanted["collect", "folder"] = _folder(workspace, source, data, str(now["collect", "folder"]))
    return _apply(workspace.params, wanted)


def _folder(workspace: Workspace, source: str, data: str, now: str) -> str:
    """The value of collect.folder; that folder holds logs if the source is parquet."""
    if source != "parquet":
        if data:
            raise ConfigError(f"DATA={data} goes with SOURCE=parquet, not with {source}.")
        return _INBOX
    folder = data or now
    path = workspace.root / folder
    if not path.is_dir():
        raise SourceError(f"There is no folder {path}. Name the folder of your tables: SOURCE=parquet DATA=folder")
    if not any(path.glob("*.parquet")) and not any(path.glob("*/*.parquet")):
        raise SourceError(
            f"{path} holds no Parquet files. Put the tables {', '.join(TABLES)} there (users is optional), or name "
            "another folder: SOURCE=parquet DATA=folder"
        )
    return folder


def _values(path: Path) -> Values:
    return dict(_flat(config.read(path, "presets"), ()))


def _flat(content: dict[str, object], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), value


def _apply(params: Path, wanted: Values) -> list[str]:
    nested: dict[str, object] = {}
    for path, value in wanted.items():
        place = nested
        for key in path[:-1]:
            place = place.setdefault(key, {})  # type: ignore[assignment]
        place[path[-1]] = value
    with TemporaryDirectory() as folder:
        overlay = Path(folder) / "overlay.yaml"
        with overlay.open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump(nested, file)
        return config.apply(params, overlay)
