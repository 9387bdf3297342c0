"""Switches off the telemetry of the libraries we use; to be called before they are imported."""

import os

_OFF = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def switch_off() -> None:
    """Set each library's own variable, unless the user has set it already."""
    for name, value in _OFF.items():
        os.environ.setdefault(name, value)
