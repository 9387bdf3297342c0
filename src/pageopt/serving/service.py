"""The BentoML service: one process a worker, each with its own engine, around the ASGI application.

BentoML looks for `bundle` and release.json beside the package: in a Bento, and in the project's folder src, where both
are the champion's.

Environment variables
    PAGEOPT_BUNDLE   another exported bundle
    PAGEOPT_EVENTS   the SQLite file that events and shown pages go to; default: .pageopt/events.sqlite, from here
    PAGEOPT_AT       microseconds since 1970 to read users as of, 0 for the end of the log; default: each request's time
    PAGEOPT_SERVED   a SQLite file that every decided page goes to; default: none, since it grows with the traffic
    PAGEOPT_WORKERS  processes, default 1; each takes one core
    BENTOML_HOST, BENTOML_PORT  where to listen; default 127.0.0.1 and 3000
"""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.service.openapi import INFRA_TAG, make_infra_endpoints
from bentoml._internal.service.openapi.specification import Components, Info, OpenAPISpecification, PathItem

from pageopt.engine.decide import Decider
from pageopt.errors import ConfigError, PageoptError
from pageopt.features.store.sqlite import SqliteUserStore
from pageopt.serving import openapi
from pageopt.serving.app import MAX_IN_FLIGHT, PageApp
from pageopt.serving.clock import clock
from pageopt.serving.events import EventLog
from pageopt.serving.loaded import load_bundle
from pageopt.serving.operations import OPERATIONS
from pageopt.serving.served import ServedLog

_BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
_EVENTS = Path(".pageopt") / "events.sqlite"
_app = PageApp()


def _workers() -> int:
    text = os.environ.get("PAGEOPT_WORKERS") or "1"
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise ConfigError(f"PAGEOPT_WORKERS is {text!r}; give the number of processes, 1 to 64.")
    return int(text)


def _path(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default).absolute()


def _load() -> tuple[Decider, EventLog, SqliteUserStore]:
    engine, snapshot, version = load_bundle(_path("PAGEOPT_BUNDLE", _BUNDLE))
    events = _path("PAGEOPT_EVENTS", _EVENTS)
    users = SqliteUserStore(events, snapshot)
    return Decider(engine, users, version, clock()), EventLog(users, events), users


class _PlainService(Service[Any]):
    """A BentoML service around a plain ASGI application: a method of BentoML's own costs several times as much.

    Whatever is not BentoML's (the API's page, health, metrics) goes to the application. Were it mounted, it would stand
    before the API's page.
    """

    def to_asgi(self, is_main: bool = True) -> Any:
        """BentoML's application, with ours behind its routes."""
        application: Any = super().to_asgi(is_main)
        application.router.redirect_slashes = False
        application.router.default = _app
        return application

    @property
    def openapi_spec(self) -> OpenAPISpecification:
        """What /docs.json answers, and what a Bento keeps in apis/openapi.yaml."""
        return OpenAPISpecification(
            openapi=openapi.VERSION,
            info=Info("pageopt", str(self.bento.tag.version) if self.bento else "source", self.inner.__doc__),
            servers=[{"url": "."}],
            tags=[INFRA_TAG],
            paths={path: PathItem(post=openapi.post(path, each)) for path, each in OPERATIONS.items()}
            | make_infra_endpoints(),
            components=Components(openapi.schemas(_app.limits)),
        )


@bentoml.service(
    name="pageopt",
    service_class=_PlainService,
    workers=_workers(),
    http={"host": "127.0.0.1", "port": 3000},
    # The application refuses earlier, with its own body; these are the backstop.
    traffic={"timeout": 30, "max_concurrency": 2 * MAX_IN_FLIGHT * _workers()},
    # A line in the log costs more than the decision; /metrics counts requests.
    logging={"access": {"enabled": False}},
)
class PageService:
    """Decides which modules a page shows, and takes what happened on it."""

    @bentoml.on_deployment
    @staticmethod
    def prepare() -> None:
        """Once, before any worker: load the model, so that a broken bundle ends the server and not each worker in turn.

        Workers inherit the environment but run in the Bento's folder, so paths are made absolute here.
        """
        os.environ["PAGEOPT_BUNDLE"] = str(_path("PAGEOPT_BUNDLE", _BUNDLE))
        os.environ["PAGEOPT_EVENTS"] = str(_path("PAGEOPT_EVENTS", _EVENTS))
        if served := os.environ.get("PAGEOPT_SERVED"):
            os.environ["PAGEOPT_SERVED"] = str(Path(served).absolute())
        try:
            _load()
        except PageoptError as error:
            print(f"pageopt: {error}", file=sys.stderr)
            sys.exit(error.exit_code)

    def __init__(self) -> None:
        served = os.environ.get("PAGEOPT_SERVED")
        decider, events, users = _load()
        self._served = ServedLog(decider.problem, users, Path(served) if served else None)
        _app.attach(decider, events, self._served)

    @bentoml.on_shutdown
    def finish(self) -> None:
        """Write the decided pages that are still waiting."""
        self._served.close()
