"""Zip and tar archives, read in place: a list of byte offsets and `pread`; nothing is ever unpacked to disk."""

from __future__ import annotations

import os
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass

from ..decode import MAX_BYTES
from ..errors import DataError
from ..files import faults_named
from .folder import entries_of_listing
from .sources import Listing, Source

_DAMAGED = "Fetch the archive again, or pack it again"


@dataclass(frozen=True, slots=True)
class Member:
    """Where the bytes of one member are."""

    offset: int
    """of the data in a tar, of the local header in a zip"""
    stored: int
    """bytes in the archive"""
    size: int
    """bytes of the picture"""
    crc: int = 0
    deflated: bool = False


class ArchiveSource(Source):
    """Pictures that are members of one open archive."""

    descriptor = -1

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def _read(self, handle: Member, where: str) -> bytes:
        return _read_member(self.kind, self.descriptor, handle, where)

    def _status(self, handle: Member) -> os.stat_result:
        return os.fstat(self.descriptor)


def _read_member(kind: str, descriptor: int, member: Member, where: str) -> bytes:
    if kind == "zip":
        return read_zip_member(descriptor, member, where)
    return read_exactly(descriptor, member.size, member.offset, where)


def read_exactly(descriptor: int, size: int, offset: int, where: str) -> bytes:
    """Return `size` bytes from `offset` of an open archive.

    Raises:
        DataError: the archive ends before.
    """
    with faults_named(where, "read"):
        data = os.pread(descriptor, size, offset)
        while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
            data += more
    if len(data) < size:
        raise DataError("the archive is cut short in the middle of it", where=where, fix=_DAMAGED)
    return data


def read_zip_member(descriptor: int, member: Member, where: str) -> bytes:
    """Return the bytes of a stored or deflated member, checked against its CRC-32.

    Raises:
        DataError: the archive is damaged there.
    """
    header = read_exactly(descriptor, 30, member.offset, where)
    signature, name_size, extra_size = struct.unpack("<4s22xHH", header)
    if signature != b"PK\x03\x04":
        raise DataError("the archive is damaged there (no local header)", where=where, fix=_DAMAGED)
    data = read_exactly(descriptor, member.stored, member.offset + 30 + name_size + extra_size, where)
    if member.deflated:
        try:
            data = zlib.decompressobj(-15).decompress(data, member.size + 1)
        except zlib.error:
            raise DataError("the archive is damaged there (cannot be inflated)", where=where, fix=_DAMAGED) from None
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise DataError("the archive is damaged there (its checksum does not fit)", where=where, fix=_DAMAGED)
    return data


def _path_fault(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        return "its name leads outside of the archive"
    return ""


def _source(path: str, kind: str, listing: Listing, labelled: bool) -> Source:
    """Return the source of a listed archive; opens it for reading."""
    with faults_named(path, "read"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    source = None
    try:
        entries, refused = entries_of_listing(
            listing, labelled, lambda member: _read_member(kind, descriptor, member, path)
        )
        pairs = ((entry, listing.files[entry.path]) for entry in entries)
        source = ArchiveSource(path, kind, pairs, listing.refused + refused, listing.ignored)
        source.descriptor = descriptor
        return source
    finally:
        if source is None:
            os.close(descriptor)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name; without the UTF-8 flag its bytes are taken as UTF-8 all the same, as most tools write."""
    if info.flag_bits & 0x800 or info.orig_filename.isascii():
        return info.orig_filename
    return info.orig_filename.encode("cp437").decode("utf-8", "surrogateescape")


def _zip_fault(info: zipfile.ZipInfo, name: str) -> str:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "is a link inside the archive"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by a method that is not read in place (number {info.compress_type})"
    if max(info.file_size, info.compress_size) > MAX_BYTES:
        return f"has {info.file_size:,} bytes, more than the limit of {MAX_BYTES:,}"
    return _path_fault(name)


def open_zip(path: str, labelled: bool) -> Source:
    """Return the pictures in a zip, stored or deflated.

    Raises:
        DataError: not a zip, or its directory is damaged.
    """
    listing = Listing()
    try:
        with faults_named(path, "read"), zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError, EOFError) as error:
        what = f"is not a whole zip archive ({' '.join(str(error).split())[:80]})"
        raise DataError(what, where=path, fix=_DAMAGED) from None
    for info in members:
        name = _zip_name(info)
        if not name.endswith("/"):
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            member = Member(info.header_offset, info.compress_size, info.file_size, info.CRC, deflated)
            fault = _zip_fault(info, name)
            listing.add(name if fault else posixpath.normpath(name), member, fault)
    return _source(path, "zip", listing, labelled)


def _tar_fault(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "is a link inside the archive"
    if not info.isreg():
        return "is a device or a pipe, not a file"
    if info.issparse():
        return "is stored as a sparse file, which is not read in place"
    if info.size > MAX_BYTES:
        return f"has {info.size:,} bytes, more than the limit of {MAX_BYTES:,}"
    return _path_fault(info.name)


def open_tar(path: str, labelled: bool) -> Source:
    """Return the pictures in an uncompressed tar; one that is cut short keeps what lies before the cut.

    Raises:
        DataError: not a tar at all.
    """
    listing = Listing()
    damaged = (tarfile.TarError, ValueError, EOFError, struct.error, OverflowError, RecursionError)
    count = 0
    try:
        encoding = {"encoding": "utf-8", "errors": "surrogateescape"}
        with faults_named(path, "read"), tarfile.open(path, "r:", **encoding) as archive:
            while info := archive.next():
                archive.members.clear()  # the list would hold every header in memory
                count += 1
                if not info.isdir():
                    member = Member(info.offset_data, info.size, info.size)
                    fault = _tar_fault(info)
                    listing.add(info.name if fault else posixpath.normpath(info.name), member, fault)
    except damaged as error:
        if not count:
            what = f"is not a tar archive ({' '.join(str(error).split())[:80]})"
            raise DataError(what, where=path, fix=_DAMAGED) from None
        listing.refused.append((f"member {count + 1} of the archive and what follows", "the archive is damaged there"))
    return _source(path, "tar", listing, labelled)
