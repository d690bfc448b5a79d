"""Which pages may speak to us: the tables of the Origin rules."""

import pytest

from server.auth.origins import counts_cookie, is_own, may_change, may_connect, may_go_unchecked

HOST = "here.example:8080"
LISTED = ("https://Board.example/", "http://other.example:3000")


@pytest.mark.parametrize(
    ("origin", "scheme", "host", "own"),
    [
        ("http://here.example:8080", "http", HOST, True),
        ("http://HERE.example:8080", "http", HOST, True),
        ("http://here.example", "http", "here.example:80", True),
        ("https://here.example", "https", "here.example", True),
        ("https://here.example", "http", "here.example", True),  # behind a proxy that ends TLS
        ("https://here.example:8443", "http", "here.example:8443", True),
        ("http://here.example", "https", "here.example", False),
        ("http://here.example:8081", "http", HOST, False),
        ("http://here.example", "http", HOST, False),
        ("http://evil.example:8080", "http", HOST, False),
        ("http://here.example.evil.example:8080", "http", HOST, False),
        ("http://[::1]:8080", "http", "[::1]:8080", True),
        ("null", "http", HOST, False),
        ("", "http", HOST, False),
        (None, "http", HOST, False),
        ("http://[", "http", HOST, False),
        ("http://here.example:port", "http", HOST, False),
        ("here.example:8080", "http", HOST, False),
        ("http://here.example:8080", "http", "", False),
    ],
)
def test_an_origin_is_our_own(origin: str | None, scheme: str, host: str, own: bool) -> None:
    assert is_own(origin, scheme, host) is own


@pytest.mark.parametrize(
    ("method", "origin", "counts"),
    [
        ("GET", None, True),
        ("HEAD", None, True),
        ("POST", None, False),
        ("DELETE", None, False),
        ("PATCH", "", False),
        ("OPTIONS", None, False),
        ("GET", "http://here.example:8080", True),
        ("POST", "http://here.example:8080", True),
        ("GET", "http://evil.example", False),
        ("POST", "http://evil.example", False),
        ("GET", "null", False),
        ("POST", "null", False),
        ("POST", LISTED[1], False),  # listed pages bring a token; only our own page has the cookie
    ],
)
def test_a_cookie_counts_from_our_own_page_only(method: str, origin: str | None, counts: bool) -> None:
    assert counts_cookie(method, origin, "http", HOST) is counts


@pytest.mark.parametrize(
    ("origin", "referer", "may"),
    [
        (None, None, True),
        ("", "", True),
        ("http://here.example:8080", None, True),
        ("http://here.example:8080", "http://evil.example/", True),
        ("http://evil.example", "http://here.example:8080/", False),
        (None, "http://here.example:8080/board?x=1", True),
        (None, "http://evil.example/http://here.example:8080", False),
        ("null", None, False),
        ("null", "http://here.example:8080/", False),
        ("https://board.example", None, True),
        ("https://BOARD.example:443", None, True),
        ("http://board.example", None, False),
        (None, "http://other.example:3000/page", True),
        ("http://other.example", None, False),
    ],
)
def test_a_change_comes_from_no_foreign_page(origin: str | None, referer: str | None, may: bool) -> None:
    assert may_change(origin, referer, "http", HOST, LISTED) is may


@pytest.mark.parametrize(
    ("origin", "local", "may"),
    [
        (None, True, True),
        ("", True, True),
        ("http://here.example:8080", False, True),
        ("https://here.example", False, True),  # ports do not count
        ("http://evil.example:8080", True, False),
        ("null", True, False),
        ("http://localhost:5173", True, True),
        ("http://127.0.0.1:5173", True, True),
        ("http://localhost:5173", False, False),
        ("http://localhost.evil.example", True, False),
        ("https://board.example/", True, True),
        ("file://", True, False),
    ],
)
def test_a_socket_comes_from_no_foreign_page(origin: str | None, local: bool, may: bool) -> None:
    assert may_connect(origin, HOST, LISTED, local=local) is may


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        (None, "localhost:8080", True),
        (None, "127.0.0.1:8080", True),
        (None, "[::1]:8080", True),
        (None, "missionstream:8080", True),
        (None, "app.localhost", True),
        (None, "rebound.evil.example:8080", False),
        ("http://rebound.evil.example:8080", "rebound.evil.example:8080", False),
        (None, "", False),
        ("http://localhost:8080", "localhost:8080", True),
        ("http://localhost:3000", "localhost:8080", True),
        ("http://127.0.0.1:3000", "localhost:8080", True),
        ("http://evil.example", "localhost:8080", False),
        ("null", "localhost:8080", False),
        ("https://board.example", "localhost:8080", True),
        (None, "other.example:3000", True),
    ],
)
def test_without_authentication_only_this_machine_may(origin: str | None, host: str, may: bool) -> None:
    assert may_go_unchecked(origin, "http", host, LISTED) is may
