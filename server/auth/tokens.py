"""What an API token looks like: `mst_`, 30 random base62 digits, and the CRC32 of both in 6 more."""

import hashlib
import hmac
import re
import secrets
import string
import zlib

PREFIX = "mst_"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM = 30
_CHECK = 6
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM + _CHECK}}}")


def generate() -> str:
    """A new token of 40 characters, with 178 random bits."""
    body = PREFIX + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM))
    return body + checksum(body)


def derived(key: bytes, label: str) -> str:
    """A token that the same key and label give again, and that tells nothing about the key."""
    value = int.from_bytes(hmac.digest(key, _encoded(label), hashlib.sha256))
    digits = []
    for _ in range(_RANDOM):
        value, digit = divmod(value, len(_DIGITS))
        digits.append(_DIGITS[digit])
    body = PREFIX + "".join(digits)
    return body + checksum(body)


def checksum(body: str) -> str:
    """The CRC32 of the text as 6 base62 digits, the first ones zero if need be."""
    value = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECK):
        value, digit = divmod(value, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def is_misspelt(token: str) -> bool:
    """Whether this has the form of our tokens but a wrong checksum, so that it cannot be one."""
    return _FORM.fullmatch(token) is not None and not is_same(token[-_CHECK:], checksum(token[:-_CHECK]))


def digest(token: str) -> bytes:
    """The SHA-256 that stands for a token in the database and in memory."""
    return hashlib.sha256(_encoded(token)).digest()


def is_same(left: str, right: str) -> bool:
    """Compare two secrets in a time that tells nothing about either, its length included."""
    return hmac.compare_digest(digest(left), digest(right))


def _encoded(text: str) -> bytes:
    # A header or JSON may carry lone surrogates; they are part of a wrong secret, not a failure.
    return text.encode("utf-8", "surrogatepass")
