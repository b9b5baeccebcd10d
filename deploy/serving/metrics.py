"""What the service tells Prometheus: load, latency, refusals, predictions, and which version answers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

# Seconds; a CPU answers a small network in some ten milliseconds, a queue may hold a request for half a minute.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One process's metrics in a registry of their own. No label holds anything a caller chose."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="lungline", registry=self._registry)
        self.requests = self._counter("requests", "Requests answered.", "path", "status")
        self.seconds = self._histogram("request_seconds", "From a request's headers to its whole answer.", "path")
        self.scoring_seconds = self._histogram("scoring_seconds", "Decoding and prediction of one request.")
        self.in_flight = self._gauge("requests_in_flight", "Predictions asked for and not answered yet.")
        self.pending = self._gauge("requests_pending", "Of these, read and being scored or waiting for it.")
        self.refused_requests = self._counter("refused_requests", "Requests that were not answered.", "reason")
        self.refused_pictures = self._counter("refused_pictures", "Pictures that were not scored.", "reason")
        self.predictions = self._counter("predictions", "Pictures by predicted class.", "version", "predicted")
        self.model_info = self._gauge(
            "model_info", "1 for the version that answers.", "model", "version", "bundle"
        )
        self.ready = self._gauge("ready", "Whether predictions are answered now.")
        self.reloads = self._counter("reloads", "Versions that took over.")
        self.reload_failures = self._counter("reload_failures", "Attempts at another champion that failed.")
        self.reload_failing = self._gauge("reload_failing", "1 while the champion is not what answers.")
        self.logged = self._counter("predictions_logged", "Rows written to the prediction log.")
        self.log_failures = self._counter("prediction_log_failures", "Writes to the prediction log that failed.")
        self.log_waiting = self._gauge("prediction_log_waiting", "Rows not written to the prediction log yet.")

    def show_model(self, model: str, version: str, bundle: str) -> None:
        """Name the version that answers from now on."""
        self.model_info.clear()
        self.model_info.labels(model, version, bundle).set(1)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"lungline_{name}", says, labels, registry=self._registry)

    def _gauge(self, name: str, says: str, *labels: str) -> Gauge:
        return Gauge(f"lungline_{name}", says, labels, registry=self._registry)

    def _histogram(self, name: str, says: str, *labels: str) -> Histogram:
        return Histogram(f"lungline_{name}", says, labels, buckets=_SECONDS, registry=self._registry)
