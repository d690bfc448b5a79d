"""How often an address may fail to log in."""

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from streams.errors import TooMany


class Throttle:
    """At most `limit` failures, or other things that are noted, in `window_seconds` for each address; an IPv6 network of 64 bits counts as one.

    Remembers `capacity` addresses, the ones that failed last.
    """

    def __init__(
        self,
        limit: int = 5,
        window_seconds: float = 60.0,
        *,
        capacity: int = 10_000,
        message: str = "too many failed logins; wait a minute",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._message = message
        self._window_seconds = window_seconds
        self._capacity = capacity
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise TooMany, with the seconds to wait, when the address has failed too often."""
        failures = self._failures.get(_network(address))
        if failures is None or len(failures) < self._limit:
            return
        wait = failures[0] + self._window_seconds - self._clock()
        if wait > 0:
            raise TooMany(self._message, retry_after=wait)

    def note_failure(self, address: str) -> None:
        """Count one failure, now."""
        network = _network(address)
        self._failures.setdefault(network, deque(maxlen=self._limit)).append(self._clock())
        self._failures.move_to_end(network)
        while len(self._failures) > self._capacity:
            self._failures.popitem(last=False)

    def __len__(self) -> int:
        return len(self._failures)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
