"""What the endpoint counts, beside BentoML's own figures, at /metrics.

BentoML gathers these from all workers: it sets prometheus_client's multiprocess folder before a worker starts.
"""

from prometheus_client import Counter, Histogram

DECISIONS = Counter("pageopt_decisions_total", "Pages decided", ["policy", "model_version"])
DEGRADED = Counter("pageopt_degraded_total", "Pages decided with less than was asked for", ["reason"])
DECISION_SECONDS = Histogram(
    "pageopt_decision_seconds",
    "Seconds from the whole body to the answer, waiting for a thread included",
    buckets=(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0),
)
REFUSED = Counter("pageopt_refused_total", "Requests answered with an error", ["path", "status"])
EVENTS = Counter("pageopt_events_total", "Events received", ["outcome"])
SERVED_LOST = Counter("pageopt_served_lost_total", "Decided pages that did not reach store or log")
