"""Files to blocks of UTF-8: what they are, unzipping, and the encodings that files come in."""

import codecs
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from lifeloop.errors import InputError, UnreadableFile
from lifeloop.events.problems import NO_ROWS, refusal

BLOCK = 2 << 20
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstandard archive",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
Format = Literal["parquet", "json", "text"]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a text file in UTF-8; bytes that are no text stay as they are."""

    data: bytes
    bytes_read: int


def format_of(path: Path) -> Format:
    """Return what a file is, by its content; the name decides only where that is silent.

    Raises
    ------
    InputError
        There is no such file, or it is a folder.
    UnreadableFile
        It is empty, or of a format that is not read here.
    """
    if path.is_dir():
        raise InputError(
            "a folder was given where a file is expected", got=str(path), hint="name one file in it"
        )
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError:
        raise InputError(
            "there is no such file", got=str(path), hint="check the path and the working directory"
        ) from None
    except OSError as error:
        raise InputError(f"the file cannot be opened ({error.strerror})", got=str(path)) from None
    if not head:
        raise _unreadable(path, "the file is empty (0 bytes)", NO_ROWS)
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise _unreadable(path, f"the file is {name}, which is not read here", "unknown_format")
    if head.startswith(b"PAR1"):
        return "parquet"
    names = [suffix.lower() for suffix in path.suffixes[-2:]]
    if ".parquet" in names or ".pq" in names:
        raise _unreadable(path, "the file is not Parquet, whatever its name says", "corrupt_file")
    if head.startswith(_GZIP):
        try:
            head = next(blocks_of(path)).data[:4096]
        except StopIteration:
            raise _unreadable(path, "the archive holds no bytes", NO_ROWS) from None
        except UnreadableFile:
            return "text"  # read again later: what is whole before the break comes first
        if head.startswith(b"PAR1"):
            raise _unreadable(path, "a gzipped Parquet file cannot be read", "unknown_format")
    start = _Decoder().feed(head).lstrip()
    if start[:1] in (b"{", b"["):
        return "json"
    return "text"


def text_blocks(path: Path) -> Iterator[Block]:
    """Yield a text file as UTF-8, a few megabytes at a time, unzipped where it is gzipped.

    The encoding is told by a byte-order mark, else by the first bytes that are not ASCII: UTF-8,
    GB18030, else Latin-1 (Windows-1252 where it fits).

    Raises
    ------
    UnreadableFile
        After everything before the break was yielded: a truncated or damaged archive.
    """
    decoder = _Decoder()
    read = 0
    for block in blocks_of(path):
        read = block.bytes_read
        data = decoder.feed(block.data)
        if data:
            yield Block(data, read)
    if rest := decoder.feed(b"", final=True):
        yield Block(rest, read)


def blocks_of(path: Path) -> Iterator[Block]:
    """Yield the bytes of a file, unzipped where it is gzipped."""
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
        file.seek(0)
        if zipped:
            yield from _unzipped(file, path)
        else:
            while data := file.read(BLOCK):
                yield Block(data, file.tell())


def _unzipped(file: BinaryIO, path: Path) -> Iterator[Block]:
    member = zlib.decompressobj(31)
    held: list[bytes] = []
    size = 0
    fresh = True  # between two members of one archive
    try:
        while chunk := file.read(_CHUNK):
            while chunk:
                if fresh and not (chunk := chunk.lstrip(b"\0")):
                    break  # padding after the last member
                fresh = False
                piece = member.decompress(chunk, BLOCK)
                chunk = member.unconsumed_tail
                if piece:
                    held.append(piece)
                    size += len(piece)
                if member.eof:
                    chunk = member.unused_data
                    member, fresh = zlib.decompressobj(31), True
                if size >= BLOCK:
                    yield Block(b"".join(held), file.tell())
                    held, size = [], 0
    except zlib.error as error:
        if held:
            yield Block(b"".join(held), file.tell())
        raise _unreadable(path, f"the gzip archive is damaged ({error})", "corrupt_file") from None
    if held:
        yield Block(b"".join(held), file.tell())
    if not fresh:
        raise _unreadable(
            path, "the gzip archive ends in the middle: it was cut off", "truncated_file"
        )


def _unreadable(path: Path, what: str, reason: str) -> UnreadableFile:
    hints = {
        NO_ROWS: "export it again: there is nothing in it",
        "unknown_format": "save it as CSV, JSON lines or Parquet",
    }
    error = UnreadableFile(
        what,
        got=str(path),
        allowed="CSV, JSON lines or Parquet, text also gzipped",
        hint=hints.get(reason, "copy or export the file again; rows that are stored stay stored"),
    )
    return refusal(error, reason)


# ---------------------------------------------------------------- encodings


class _Decoder:
    """Bytes in, UTF-8 out; remembers the encoding once bytes show it."""

    def __init__(self) -> None:
        self._codec: codecs.IncrementalDecoder | None = None
        self._utf8 = False
        self._begun = False

    def feed(self, data: bytes, *, final: bool = False) -> bytes:
        if not self._begun and data:
            self._begun = True
            for mark, name in _BOMS:
                if data.startswith(mark):
                    data = data[len(mark) :]
                    self._use(name)
        if self._codec is None and not self._utf8 and not data.isascii():
            self._use(encoding_of(data))
        if self._codec is None:
            return data
        # Bytes that fit no character become lone surrogates, which are no UTF-8: the rows that
        # hold them are refused one by one.
        return self._codec.decode(data, final).encode("utf-8", "surrogatepass")

    def _use(self, name: str) -> None:
        if name == "utf-8":
            self._utf8 = True
        else:
            self._codec = codecs.getincrementaldecoder(name)("surrogateescape")


def encoding_of(data: bytes) -> str:
    """Return the encoding of bytes that are not all ASCII.

    UTF-8 where half of the lines are, which no other encoding is by chance; GB18030 where it
    decodes and at least four fifths of what is not ASCII are characters of everyday Chinese;
    else Windows-1252 or Latin-1.
    """
    lines = [line for line in data.split(b"\n")[:-1] if not line.isascii()] or [data]
    sound = sum(_decodes(line, "utf-8") for line in lines)
    if sound >= 0.5 * len(lines) or _decodes(data, "utf-8", cut=True):
        return "utf-8"
    try:
        text = codecs.getincrementaldecoder("gb18030")().decode(data)
        wide = [c for c in text if not c.isascii()]
        if sum(_decodes_back(c) for c in wide) >= 0.8 * len(wide):
            return "gb18030"
    except UnicodeDecodeError:
        pass
    high = {byte for byte in data if 0x80 <= byte < 0xA0}
    return "cp1252" if high and not high & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1"


def _decodes(data: bytes, name: str, *, cut: bool = False) -> bool:
    try:
        codecs.getincrementaldecoder(name)().decode(data, not cut)
    except UnicodeDecodeError:
        return False
    return True


def _decodes_back(character: str) -> bool:
    try:
        character.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True
