"""A model among listed objects: all that lies below a prefix, or the one object of that name."""

from collections.abc import Sequence
from hashlib import sha256

from polyforge.dialects.object_lists import ListedObject
from polyforge.kernel.errors import Invalid, NotFound
from polyforge.ports.model_source import SourceFile, SourceListing, SourceReference, is_archive


def model_of(objects: Sequence[ListedObject], prefix: str, reference: SourceReference, where: str) -> SourceListing:
    """The listing; NotFound when there is nothing. Names that end in a slash are folders; ETags are the revision."""
    found = [each for each in objects if not each.key.endswith("/")]
    exact = [each for each in found if each.key == prefix]
    if exact:
        name = prefix.rpartition("/")[2]
        file = SourceFile(name, exact[0].size, reference.sha256, _locator(exact[0]))
        return SourceListing((file,), _revision(exact), reference.url, is_archive(name))
    below = f"{prefix.rstrip('/')}/" if prefix else ""
    inside = [each for each in found if each.key.startswith(below)]
    if not inside:
        raise NotFound(f"nothing in {where} begins with {prefix[:200]!r}", param="source")
    if reference.sha256 is not None:
        raise Invalid("sha256: a prefix has none; leave it out", param="sha256")
    files = tuple(SourceFile(each.key.removeprefix(below), each.size, None, _locator(each)) for each in inside)
    return SourceListing(files, _revision(inside), reference.url)


def located(file: SourceFile) -> tuple[str, str]:
    """ETag and key of a file that was listed so."""
    etag, _, key = file.locator.partition(" ")
    return etag, key


def _locator(found: ListedObject) -> str:
    return f"{found.etag} {found.key}"


def _revision(found: Sequence[ListedObject]) -> str:
    """Empty when the storage has no ETags: then nothing tells one content from another."""
    if not all(each.etag for each in found):
        return ""
    return sha256("\n".join(f"{each.key} {each.etag}" for each in found).encode()).hexdigest()
