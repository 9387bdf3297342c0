"""ONNX Runtime as a server runs it: one thread a session, in order."""

from pathlib import Path

import onnxruntime as ort


def open_session(graph: Path | bytes) -> ort.InferenceSession:
    """Of a graph in a file or in memory. Raises what ONNX Runtime raises, which has no narrower base class."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Workers share the cores: a thread that spins while it waits takes time from the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
