"""Tables on disk and the engine that computes them: the only place that names an engine."""
