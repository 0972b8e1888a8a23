"""Public S3 buckets, listed without an account: what lies under a prefix, and how large it is."""

from collections.abc import Iterator
from xml.etree import ElementTree

import requests

from virtassay.files.download import TIMEOUT


def listed(address: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield the key and the bytes of every object under `prefix`, a thousand a request (ListObjectsV2).

    Raises FileNotFoundError where the bucket does not answer or has nothing there.
    """
    token, found = "", 0
    while True:
        asked = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
        try:
            answer = requests.get(f"{address}/", params=asked, timeout=TIMEOUT)
            answer.raise_for_status()
            page = ElementTree.fromstring(answer.content)
        except (requests.RequestException, ElementTree.ParseError) as error:
            raise FileNotFoundError(f"{address} could not be listed under {prefix} ({error}). Try again.") from error
        for entry in page.iterfind("{*}Contents"):
            found += 1
            yield entry.findtext("{*}Key", ""), int(entry.findtext("{*}Size", "0"))
        token = page.findtext("{*}NextContinuationToken", "")
        if not token:
            break
    if not found:
        raise FileNotFoundError(f"{address} has nothing under {prefix}: correct the names of batch and plate.")
