"""What a bundle says of itself: bundle.json beside the graph, the encoder and the users."""

from typing import Annotated, Literal

import msgspec

from pageopt.artefact import Artefact
from pageopt.errors import ExportError


class Origin(msgspec.Struct, frozen=True):
    """SHA-256 of what the bundle was made of."""

    model: str
    encoder: str
    users: str


class Bundle(Artefact, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """models/bundle/bundle.json: how pages are searched, and what the model knows.

    `problem` is the name of the page problem. `static_page` holds all modules by overall CTR, the highest first; a page
    may have `max_candidates` candidates. Keys that are not known are read over: a champion's bundle may come from
    another version of this code.
    """

    ERROR = ExportError
    MEND = "Write the bundle again: dvc repro --force --single-item export"

    problem: str = "item"  # that of bundles which are older than this name
    policy: str
    slots: Annotated[int, msgspec.Meta(ge=1)]
    width: int
    beam_start: int
    objective: Literal["click", "intent", "purchase"]
    heads: tuple[str, ...]
    trained_heads: tuple[str, ...]
    above: str | None = None  # None: the bundle is older than this name
    families: int
    modules: int
    max_candidates: int
    static_page: tuple[int, ...]
    created_from: Origin
