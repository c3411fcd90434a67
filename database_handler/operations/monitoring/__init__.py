"""What watches a database from inside the application: metrics for Prometheus, spans for OpenTelemetry.

Each is given to a database with `Database.observe`. The packages come with the extra `monitoring`, and are
imported when the first observer is made.
"""

from database_handler.operations.monitoring.metrics import METRICS, Metric
from database_handler.operations.monitoring.plans import SlowPlans
from database_handler.operations.monitoring.prometheus import PrometheusMetrics
from database_handler.operations.monitoring.server import MetricsServer, serve
from database_handler.operations.monitoring.tracing import Tracing

__all__ = [
    "METRICS",
    "Metric",
    "MetricsServer",
    "PrometheusMetrics",
    "SlowPlans",
    "Tracing",
    "serve",
]
