"""Bytes inside a GIF: in an application extension of our own, which every other program passes over."""

import struct
import zlib

from crossviz.errors import BundleError

__all__ = ["holds", "put", "take"]

_SIGNATURES = (b"GIF87a", b"GIF89a")
_OWN = b"\x21\xff\x0bCROSSVIZ1.0"  # extension, application, length of the name, name and code
_END = b"\x3b"


def put(document: bytes, content: bytes) -> bytes:
    """A GIF with the content inside, before its end.

    Raises:
        BundleError: the document is not a GIF.
    """
    if not document.startswith(_SIGNATURES) or not document.endswith(_END):
        raise BundleError("The picture to embed the bundle in is not a GIF.")
    body = content + struct.pack(">I", zlib.crc32(content))
    blocks = b"".join(bytes([len(body[at : at + 255])]) + body[at : at + 255] for at in range(0, len(body), 255))
    return document[:-1] + _OWN + blocks + b"\0" + _END


def holds(data: bytes) -> bool:
    """Whether something of ours is inside, sound or not."""
    try:
        return data.startswith(_SIGNATURES) and _own_block(data) is not None
    except IndexError:
        return False


def take(name: str, data: bytes) -> bytes:
    """The content that `put` put in.

    Args:
        name: of the file, for messages.

    Raises:
        BundleError: the data is no GIF, is cut off or damaged, or holds nothing of ours.
    """
    if not data.startswith(_SIGNATURES):
        raise BundleError(f"{name!r} is not a GIF picture, whatever its name says.")
    try:
        body = _own_block(data)
    except IndexError:
        raise BundleError(f"{name!r} is cut off: copy the whole file again.") from None
    if body is None:
        raise BundleError(
            f"{name!r} holds no crossviz bundle: load a file that `Explanation.save` wrote "
            "(sites and programs that re-encode pictures drop it)."
        )
    content, checksum = body[:-4], body[-4:]
    if struct.pack(">I", zlib.crc32(content)) != checksum:
        raise BundleError(f"The bundle in {name!r} is damaged (its checksum differs): save it again.")
    return content


def _own_block(data: bytes) -> bytes | None:
    """Goes from block to block to the end. Raises IndexError where the data ends before the GIF does."""
    at = 13 + _colours(data[10])
    found = None
    while data[at] != _END[0]:
        if data[at] == 0x21:
            own = data.startswith(_OWN, at)
            start = at + len(_OWN) if own else at + 2
        elif data[at] == 0x2C:
            own, start = False, at + 11 + _colours(data[at + 9])  # descriptor, colours, code size
        else:
            raise IndexError
        parts = []
        while (length := data[start]) != 0:
            if own:
                parts.append(data[start + 1 : start + 1 + length])
            start += 1 + length
        at = start + 1
        found = b"".join(parts) if own else found
    return found


def _colours(flags: int) -> int:
    """Bytes of the colour table that follows a descriptor with these flags."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
