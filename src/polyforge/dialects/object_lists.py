"""Lists of objects, as S3 and what speaks its API write them, and as Azure's Blob Storage does.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html and
https://learn.microsoft.com/en-us/rest/api/storageservices/list-blobs
"""

from typing import Final, NamedTuple

from polyforge.dialects.plain_xml import read_elements

_WHAT: Final = "the list of objects"


class ListedObject(NamedTuple):
    """An object; `etag` is in quotes, as it stands in headers too, and empty when there is none."""

    key: str
    size: int
    etag: str


class ObjectList(NamedTuple):
    """Some objects by key, and what to ask with for those after them; empty: there are none."""

    objects: list[ListedObject]
    following: str


def decode_s3(body: bytes) -> ObjectList:
    """The objects of one answer; UpstreamFailed when it is no such list."""
    return _decode(body, "Contents", ("Key", "Size", "ETag"), "NextContinuationToken")


def decode_azure(body: bytes) -> ObjectList:
    """The blobs of one answer; UpstreamFailed when it is no such list."""
    found = _decode(body, "Blob", ("Name", "Content-Length", "Etag"), "NextMarker")
    return ObjectList([each._replace(etag=_quoted(each.etag)) for each in found.objects], found.following)


def _decode(body: bytes, element: str, names: tuple[str, str, str], marker: str) -> ObjectList:
    objects: list[ListedObject] = []
    fields: dict[str, str] = {}
    following = ""
    key, size, etag = names

    def take(around: str, name: str, text: str) -> None:
        nonlocal following
        if name == element:
            objects.append(ListedObject(fields[key], int(fields[size]), fields.get(etag, "")))
            fields.clear()
        elif name in names and around in (element, "Properties"):
            fields[name] = text
        elif name == marker:
            following = text

    read_elements(body, _WHAT, take)
    return ObjectList(objects, following)


def _quoted(etag: str) -> str:
    """Azure's lists leave the quotes away that its headers have."""
    return f'"{etag}"' if etag and not etag.startswith('"') else etag
