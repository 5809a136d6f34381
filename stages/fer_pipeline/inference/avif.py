"""How an AVIF is turned: its file is made of boxes (ISO/IEC 14496-12), and some describe the picture (23008-12)."""

from collections.abc import Iterator


def list_properties(content: bytes) -> list[tuple[bytes, int]]:
    """The properties of an AVIF's primary item, in the order in which they apply.

    Of each the kind and the first byte of what it says: `irot` has quarter turns, counter-clockwise, and `imir` 1 where
    left and right are exchanged, 0 where top and bottom are. Empty where the file, of any bytes, says none.
    """

    def list_boxes(start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """The kind of each box from `start` on, and where its content begins and ends."""
        while start + 8 <= end:
            length, kind = read(start, 4), content[start + 4 : start + 8]
            if length < 8 or start + length > end:  # the last one, of any length, or a damaged one
                return
            yield kind, start + 8, start + length
            start += length

    def find(kind: bytes, start: int, end: int) -> tuple[int, int]:
        return next(((begin, stop) for found, begin, stop in list_boxes(start, end) if found == kind), (end, end))

    def read(start: int, size: int) -> int:
        return int.from_bytes(content[start : start + size], "big")

    meta, end = find(b"meta", 0, len(content))
    primary, _ = find(b"pitm", meta + 4, end)
    item = read(primary + 4, 4 if read(primary, 1) else 2)
    properties = find(b"iprp", meta + 4, end)
    known = [(kind, read(begin, 1)) for kind, begin, _ in list_boxes(*find(b"ipco", *properties))]
    place, stop = find(b"ipma", *properties)
    of_item, of_property = (4 if read(place, 1) else 2), (2 if read(place + 3, 1) & 1 else 1)
    place += 8  # version, flags, number of items
    while place < stop:
        this, count = read(place, of_item), read(place + of_item, 1)
        place += of_item + 1
        if this == item:
            least = 1 << (8 * of_property - 1)  # the highest bit says whether a property is essential
            numbers = [read(place + at * of_property, of_property) % least for at in range(count)]
            return [known[number - 1] for number in numbers if 0 < number <= len(known)]
        place += count * of_property
    return []
