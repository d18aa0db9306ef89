"""The table of contents of a tar archive: all that is honest is read, all else is refused."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.archives import BadArchive, Member
from nodecache.archives.tar import END, MOST_EXTENDED, clean_name, header, padding, read_members
from tests.archive_kit import Files, member, tarred

names = st.text("abcé.-_", min_size=1, max_size=60).filter(lambda name: name.strip("."))
paths = st.lists(names, min_size=1, max_size=5).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=1500), max_size=6)


def contents(archive: bytes) -> dict[str, Member]:
    return read_members(lambda offset, size: archive[offset : offset + size], len(archive))


@given(trees, st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_what_the_standard_library_writes_is_read_in_each_of_its_formats(
    files: Files, kind: int
) -> None:
    try:
        archive = tarred(files, kind=kind)
    except ValueError:  # a name that ustar can not hold
        return
    found = contents(archive)
    assert {
        name: archive[each.offset : each.offset + each.size] for name, each in found.items()
    } == files


@given(
    st.dictionaries(
        st.text("abc/", min_size=1, max_size=90).map(lambda n: f"x{n}y"), st.binary(max_size=1500)
    )
)
def test_what_is_written_here_the_standard_library_reads(files: Files) -> None:
    whole = b"".join(header(n, len(b)) + b + padding(len(b)) for n, b in files.items()) + END
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        infos = tar.getmembers()
        read = {info.name: tar.extractfile(info).read() for info in infos}  # type: ignore[union-attr]
    assert read == files


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 1 << 40])
def test_sizes_beyond_octal_digits_are_written_and_read(size: int) -> None:
    head = header("big", size)
    assert tarfile.TarInfo.frombuf(head, "utf-8", "strict").size == size
    with pytest.raises(BadArchive, match="cut off"):
        contents(head)  # the size was read: the bytes are not there
    found = read_members(lambda o, n: (head if o == 0 else bytes(n))[:n], size + 4096)
    assert found["big"].size == size


@given(trees, st.data())
def test_an_archive_that_is_cut_off_is_refused(files: Files, data: st.DataObject) -> None:
    """Wherever it is cut, but in the zeros at its end."""
    archive = tarred(files)
    end = max((m.offset + m.size for m in contents(archive).values()), default=0)
    end += -end % 512
    cut = archive[: data.draw(st.integers(0, end))]
    with pytest.raises(BadArchive):
        contents(cut)


@given(st.binary(max_size=3000))
def test_noise_is_an_archive_or_is_refused(noise: bytes) -> None:
    try:
        contents(noise)
    except BadArchive as bad:
        assert "\n" not in str(bad)


@given(trees, st.integers(0, 511), st.integers(0, 255))
def test_a_byte_that_is_changed_in_a_header_is_noticed_or_harmless(
    files: Files, place: int, value: int
) -> None:
    archive = bytearray(tarred({"a": b"x", **files}))
    archive[place] = value
    try:
        found = contents(bytes(archive))
    except BadArchive:
        return
    assert all(each.offset + each.size <= len(archive) for each in found.values())


@pytest.mark.parametrize(
    ("name", "kind", "link", "words"),
    [
        ("../evil", tarfile.REGTYPE, "", "outside"),
        ("a/../../evil", tarfile.REGTYPE, "", "outside"),
        ("a\\b", tarfile.REGTYPE, "", "outside"),
        ("a\nb", tarfile.REGTYPE, "", "not printable"),
        ("link", tarfile.SYMTYPE, "/etc/passwd", "outside"),
        ("link", tarfile.SYMTYPE, "../../etc/passwd", "outside"),
        ("a/link", tarfile.SYMTYPE, "../../x", "outside"),
        ("hard", tarfile.LNKTYPE, "first", "a hard link"),
        ("null", tarfile.CHRTYPE, "", "a device"),
        ("disk", tarfile.BLKTYPE, "", "a device"),
        ("pipe", tarfile.FIFOTYPE, "", "a named pipe"),
        ("hole", tarfile.GNUTYPE_SPARSE, "", "a sparse file"),
        ("odd", b"Z", "", "of a kind that no image has"),
    ],
)
def test_members_that_no_image_has_are_refused(
    name: str, kind: bytes, link: str, words: str
) -> None:
    archive = tarred({"first": b"1"}, member(name, kind, link), kind=tarfile.USTAR_FORMAT)
    with pytest.raises(BadArchive, match=words):
        contents(archive)


def test_an_absolute_name_is_refused() -> None:
    with pytest.raises(BadArchive, match="outside"):
        contents(header("/etc/passwd", 0) + END)


def test_a_name_that_comes_twice_is_refused_also_when_written_otherwise() -> None:
    twice = tarred({"a/b": b"1"})[:1024] + tarred({"./a//b": b"2"})
    with pytest.raises(BadArchive, match="twice"):
        contents(twice)


def test_folders_and_links_within_are_no_files_and_no_harm() -> None:
    archive = tarred(
        {"x/layer.tar": b"1"},
        member("x", tarfile.DIRTYPE),
        member("x/", tarfile.DIRTYPE),
        member("y/layer.tar", tarfile.SYMTYPE, "../x/layer.tar"),
    )
    found = contents(archive)
    assert set(found) == {"x/layer.tar", "y/layer.tar"}
    assert found["y/layer.tar"].link == "x/layer.tar"


def test_an_extended_header_of_any_size_is_not_read_into_memory() -> None:
    asked: list[int] = []
    head = bytearray(header("x", 2 * MOST_EXTENDED))
    head[156:157] = b"L"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)

    def read(offset: int, size: int) -> bytes:
        asked.append(size)
        return bytes(head) if offset == 0 else bytes(size)

    with pytest.raises(BadArchive, match="header of more than"):
        read_members(read, 1 << 40)
    assert max(asked) <= 512


@pytest.mark.parametrize(
    "record", [b"8 path=x\n", b"x path=y\n", b"999 path=x\n", b"0 a=b\n", b"7 path"]
)
def test_a_damaged_extended_header_is_refused(record: bytes) -> None:
    head = bytearray(header("x", len(record)))
    head[156:157] = b"x"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    archive = bytes(head) + record + padding(len(record)) + header("y", 0) + END
    with pytest.raises(BadArchive):
        contents(archive)


def test_what_is_no_archive_says_so() -> None:
    for noise in (b"", b"hello", b"x" * 4096):
        with pytest.raises(BadArchive, match="no tar archive"):
            contents(noise)


@pytest.mark.parametrize(
    ("name", "folder", "clean"),
    [
        ("./a", "", "a"),
        ("../b", "a", "b"),
        ("a/./b//c/", "", "a/b/c"),
        (".", "", ""),
        ("x", "a/b", "a/b/x"),
    ],
)
def test_names_are_seen_from_their_folder(name: str, folder: str, clean: str) -> None:
    assert clean_name(name, folder) == clean
