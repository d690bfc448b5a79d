"""Prometheus metrics of one server."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.hub import Hub

_BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counters that the services feed, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.appended = Counter("missionstream_events_appended", "Events committed", registry=self.registry)
        self.batch_events = Histogram(
            "missionstream_commit_events", "Events in a group commit", buckets=_BATCHES, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "missionstream_commit_seconds", "Time of a group commit", buckets=_SECONDS, registry=self.registry
        )
        self.publish_seconds = Histogram(
            "missionstream_publish_to_write_seconds",
            "From a feed's first unwritten event to its write to the subscribers",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._requests = Counter(
            "missionstream_http_requests", "Answered requests", ("method", "route", "status"), registry=self.registry
        )
        self._counts: dict[tuple[str, str, int], Counter] = {}
        self.turns = Gauge("missionstream_turns_running", "Agent turns running here", registry=self.registry)

    def request(self, method: str, route: str, status: int) -> None:
        """Note an answered request."""
        count = self._counts.get((method, route, status))
        if count is None:
            count = self._counts[method, route, status] = self._requests.labels(method, route, str(status))
        count.inc()

    def batch(self, events: int, seconds: float) -> None:
        """Note a group commit."""
        self.appended.inc(events)
        self.batch_events.observe(events)
        self.batch_seconds.observe(seconds)

    def watch(self, hub: Hub) -> None:
        """Show the hub's connections, subscribers and lag."""
        self.registry.register(_HubCollector(hub))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _HubCollector(Collector):
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[GaugeMetricFamily]:
        census = self._hub.census()
        connections = GaugeMetricFamily("missionstream_connections", "Open streams", labels=["transport"])
        for transport, count in census.connections.items():
            connections.add_metric([transport], count)
        subscribers = GaugeMetricFamily("missionstream_subscribers", "Subscribers", labels=["state"])
        for state, count in census.subscribers.items():
            subscribers.add_metric([state], count)
        lag = GaugeMetricFamily("missionstream_lag_events", "Events that the subscriber farthest behind has to read")
        lag.add_metric([], census.lag)
        repairs = GaugeMetricFamily("missionstream_repairs", "Holes in the live flow that were read from the log")
        repairs.add_metric([], census.repairs)
        yield from (connections, subscribers, lag, repairs)
