"""Effects: wiring of stages, gates, registry and endpoint. Importing this sets what Prefect reads at import."""

import contextlib
import os

from pageopt import telemetry
from pageopt.errors import ConfigError
from pageopt.workspace import Workspace

telemetry.switch_off()
_SETTINGS = {
    # The first start of the ephemeral server migrates its database: slower than the default 20 s on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    # Stages print for people; Prefect's own lines go to its database and show in its UI.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_CLI_PROMPT": "false",
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)
with contextlib.suppress(ConfigError):  # imported outside a project: the flow itself says so when it runs
    _home = Workspace.find().prefect_home
    _home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(_home))
