"""Images in archives: what is whole is found, under its names; what is not is refused."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodecache.archives import (
    BadArchive,
    Exported,
    Found,
    Source,
    as_manifest,
    is_saved,
    open_source,
    read_layout,
    read_saved,
)
from nodecache.archives.documents import read_document
from nodecache.archives.tar import END
from nodecache.archives.writing import archive_of, bytes_of
from nodecache.reference import Digest
from tests.archive_kit import (
    Files,
    Made,
    dumped,
    indexed,
    layout,
    made,
    member,
    name_of,
    saved,
    sha,
    source,
    tarred,
    unpacked,
)

MOST = 4 << 20
ALPINE = "docker.io/library/alpine:3.20"
IMAGE = made([b"one", b"two"])


def images(source_: Source) -> tuple[Found, ...]:
    try:
        return read_layout(source_, MOST)
    finally:
        source_.close()


def as_tar(folder: pathlib.Path, files: Files) -> tuple[Found, ...]:
    return images(source(folder, tarred(files)))


def blob_path(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def test_a_layout_is_read_the_same_from_a_tar_and_a_folder(tmp_path: pathlib.Path) -> None:
    files = layout((IMAGE, name_of(ALPINE, "3.20")))
    (tarball,) = as_tar(tmp_path, files)
    (folder,) = images(open_source(str(unpacked(tmp_path / "folder", files))))
    assert tarball.names == folder.names == (ALPINE,)
    assert str(tarball.top.digest) == str(folder.top.digest) == IMAGE.digest
    assert {str(digest) for digest in tarball.blobs} == set(IMAGE.blobs) - {IMAGE.digest}
    assert tarball.bytes == folder.bytes == sum(map(len, IMAGE.blobs.values()))


@pytest.mark.parametrize(
    ("annotations", "names", "tags"),
    [
        (name_of(ALPINE, "3.20"), (ALPINE,), ()),
        (name_of("", "3.20"), (), ("3.20",)),
        (name_of("", "ghcr.io/x/y:1"), ("ghcr.io/x/y:1",), ()),
        ({}, (), ()),
    ],
)
def test_names_come_from_the_annotations(
    tmp_path: pathlib.Path, annotations: dict[str, str], names: Any, tags: Any
) -> None:
    (found,) = as_tar(tmp_path, layout((IMAGE, annotations)))
    assert (found.names, found.tags) == (names, tags)


def test_one_image_under_several_names_is_one_and_nameless_ones_beside_it_are_left(
    tmp_path: pathlib.Path,
) -> None:
    other = made([b"signature"])
    files = layout((IMAGE, name_of(ALPINE)), (other, {}), (IMAGE, name_of("docker.io/x/y:2")))
    (found,) = as_tar(tmp_path, files)
    assert found.names == (ALPINE, "docker.io/x/y:2")


def test_an_index_brings_all_of_its_platforms_and_names_those_that_are_not_there(
    tmp_path: pathlib.Path,
) -> None:
    arm = made([b"arm"], arch="arm64")
    index = indexed({"linux/amd64": IMAGE, "linux/arm64/v8": arm, "unknown/unknown": made([b"?"])})
    files = layout((index, name_of(ALPINE)))
    (whole,) = as_tar(tmp_path, files)
    assert len(whole.documents) == 4
    assert whole.left_out == ()
    assert str(whole.top.digest) == index.digest

    del files[blob_path(arm.digest)]
    (partly,) = as_tar(tmp_path, files)
    assert partly.left_out == ("linux/arm64/v8",)

    del files[blob_path(sha(IMAGE.layers[0]))]
    with pytest.raises(BadArchive, match="is not in the archive"):
        as_tar(tmp_path, files)


def test_a_layer_that_is_fetched_from_elsewhere_may_be_missing(tmp_path: pathlib.Path) -> None:
    document = json.loads(IMAGE.manifest)
    document["layers"][0]["urls"] = ["https://example.com/layer"]
    manifest = dumped(document)
    blobs = {**IMAGE.blobs, sha(manifest): manifest}
    del blobs[sha(IMAGE.layers[0])]
    (found,) = as_tar(tmp_path, layout((Made(manifest, b"", (), blobs), name_of(ALPINE))))
    assert len(found.blobs) == 2


def broken(kind: str) -> Files:
    """A layout of IMAGE that is wrong in one way."""
    files = layout((IMAGE, name_of(ALPINE)))
    top = blob_path(IMAGE.digest)
    index = json.loads(files["index.json"])
    entry = index["manifests"][0]
    if kind == "layer lacks":
        del files[blob_path(sha(IMAGE.layers[1]))]
    elif kind == "manifest lacks":
        del files[top]
    elif kind == "layer size":
        files[blob_path(sha(IMAGE.layers[1]))] += b"more"
    elif kind == "manifest bytes":
        files[top] = files[top].replace(b"linux", b"LINUX").replace(b"gzip", b"GZIP")
    elif kind == "huge manifest":
        entry["size"] = MOST + 1
        files[top] = bytes(MOST + 1)
    elif kind == "size is no number":
        entry["size"] = "12"
    elif kind == "size is negative":
        entry["size"] = -1
    elif kind == "digest is a path":
        entry["digest"] = "sha256:../../../etc/passwd"
    elif kind == "digest of another kind":
        entry["digest"] = "sha512:" + "0" * 128
    elif kind == "no images":
        index["manifests"] = []
    elif kind == "no list":
        index["manifests"] = {"a": 1}
    elif kind == "of version 2":
        files["oci-layout"] = b'{"imageLayoutVersion": "2.0.0"}'
    elif kind == "no JSON":
        files["oci-layout"] = b"["
    elif kind == "deep JSON":
        files["oci-layout"] = b"[" * 100_000
    elif kind == "schema 1":
        entry["mediaType"] = "application/vnd.docker.distribution.manifest.v1+prettyjws"
        manifest = dumped({"schemaVersion": 1})
        entry["digest"], entry["size"] = sha(manifest), len(manifest)
        files[blob_path(sha(manifest))] = manifest
    files["index.json"] = dumped(index)
    return files


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("layer lacks", "is not in the archive"),
        ("manifest lacks", "is not in the archive"),
        ("layer size", "by its name"),
        ("manifest bytes", "not those of its digest"),
        ("huge manifest", "more than the"),
        ("size is no number", "without a size"),
        ("size is negative", "without a size"),
        ("digest is a path", "not a digest"),
        ("digest of another kind", "only sha256"),
        ("no images", "names no image"),
        ("no list", "names no image"),
        ("of version 2", "a version that is not known"),
        ("no JSON", "not JSON"),
        ("deep JSON", "not JSON"),
        ("schema 1", "of a kind that is not known"),
    ],
)
def test_a_layout_that_is_wrong_is_refused_in_one_line(
    tmp_path: pathlib.Path, kind: str, words: str
) -> None:
    with pytest.raises(BadArchive, match=words) as raised:
        as_tar(tmp_path, broken(kind))
    assert "\n" not in str(raised.value)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_archive_with_changed_bytes_is_refused_or_means_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is read of it: names and digests are those that it had, and all lies within."""
    image = made([b"one"])
    files = layout((image, name_of(ALPINE, "3.20")))
    archive = bytearray(tarred(files))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(archive) - 1))
        archive[place] = data.draw(st.integers(0, 255))
    try:
        found = images(source(tmp_path_factory.mktemp("changed"), bytes(archive)))
    except BadArchive as bad:
        assert "\n" not in str(bad)
        return
    for each in found:
        assert str(each.top.digest) == image.digest
        for digest, lying in each.blobs.items():
            assert str(digest) in image.blobs
            assert lying.offset + lying.size <= len(archive)


def test_an_index_that_names_itself_ends(tmp_path: pathlib.Path) -> None:
    """It can not: the digest would have to be in its own bytes; so deep nesting stands in."""
    image = IMAGE
    for _ in range(6):
        image = indexed({"linux/amd64": image})
    with pytest.raises(BadArchive, match="too deep"):
        as_tar(tmp_path, layout((image, name_of(ALPINE))))


def test_a_link_in_a_folder_is_not_followed_out_of_it(tmp_path: pathlib.Path) -> None:
    files = layout((IMAGE, name_of(ALPINE)))
    outside = tmp_path / "secret"
    outside.write_bytes(files.pop(blob_path(sha(IMAGE.layers[0]))))
    folder = unpacked(tmp_path / "folder", files)
    (folder / blob_path(sha(IMAGE.layers[0]))).symlink_to(outside)
    with pytest.raises(BadArchive, match="outside"):
        open_source(str(folder))


def test_a_folder_with_a_pipe_in_it_is_refused(tmp_path: pathlib.Path) -> None:
    folder = unpacked(tmp_path / "folder", layout((IMAGE, name_of(ALPINE))))
    os.mkfifo(folder / "pipe")
    with pytest.raises(BadArchive, match="neither a file nor a folder"):
        open_source(str(folder))


# docker save.


def rebuilt(folder: pathlib.Path, files: Files, *more: Any) -> Found:
    from_tar = source(folder, tarred(files, *more))
    try:
        assert is_saved(from_tar)
        (image,) = read_saved(from_tar, MOST)
        digests = [each.digest for each in image.layers]
        assert None not in digests
        return as_manifest(image, [digest for digest in digests if digest])
    finally:
        from_tar.close()


@pytest.mark.parametrize("old", [True, False])
def test_a_manifest_is_made_of_what_docker_save_wrote(tmp_path: pathlib.Path, old: bool) -> None:
    plain = made([b"one", b"two", b"one"], zipped=False)
    found = rebuilt(tmp_path, saved(plain, "alpine:3.20", old=old))
    assert found.names == ("alpine:3.20",)
    manifest = json.loads(found.top.body)
    assert manifest["config"]["digest"] == sha(plain.config)
    assert [each["digest"] for each in manifest["layers"]] == [sha(each) for each in plain.layers]
    assert {each["mediaType"] for each in manifest["layers"]} == {
        "application/vnd.docker.image.rootfs.diff.tar"
    }
    assert {str(digest): member_.size for digest, member_ in found.blobs.items()} == {
        sha(each): len(each) for each in (plain.config, *plain.layers)
    }


def test_layers_may_be_links_to_one_another(tmp_path: pathlib.Path) -> None:
    plain = made([b"one", b"one"], zipped=False)
    files = saved(plain, "x:1")
    del files[f"{1:064x}/layer.tar"]
    link = member(f"{1:064x}/layer.tar", b"2", f"../{0:064x}/layer.tar")
    found = rebuilt(tmp_path, files, link)
    assert len(json.loads(found.top.body)["layers"]) == 2


def test_a_circle_of_links_is_refused(tmp_path: pathlib.Path) -> None:
    files = saved(made([b"one"], zipped=False), "x:1")
    del files[f"{0:064x}/layer.tar"]
    links = [
        member(f"{0:064x}/layer.tar", b"2", f"../{1:064x}/layer.tar"),
        member(f"{1:064x}/layer.tar", b"2", f"../{0:064x}/layer.tar"),
    ]
    with pytest.raises(BadArchive, match="circle"):
        rebuilt(tmp_path, files, *links)


def test_a_compressed_layer_has_its_type_and_no_digest_yet(tmp_path: pathlib.Path) -> None:
    plain = made([b"one"], zipped=False)
    files = saved(plain, "x:1")
    files[f"{0:064x}/layer.tar"] = gzip.compress(plain.layers[0])
    from_tar = source(tmp_path, tarred(files))
    (image,) = read_saved(from_tar, MOST)
    from_tar.close()
    assert image.layers[0].digest is None
    assert image.layers[0].media_type.endswith(".tar.gzip")


def spoilt(kind: str) -> Files:
    plain = made([b"one", b"two"], zipped=False)
    files = saved(plain, "alpine:3.20")
    entries = json.loads(files["manifest.json"])
    config = json.loads(plain.config)
    entry, name = entries[0], entries[0]["Config"]
    if kind == "layer lacks":
        del files[entry["Layers"][1]]
    elif kind == "config lacks":
        del files[name]
    elif kind == "layer is a path":
        entry["Layers"][0] = "../../etc/passwd"
    elif kind == "config is a path":
        entry["Config"] = "/etc/passwd"
    elif kind == "fewer layers":
        entry["Layers"].pop()
    elif kind == "no rootfs":
        files[name] = b"{}"
    elif kind == "diff_id":
        config["rootfs"]["diff_ids"][0] = "md5:123"
        files[name] = dumped(config)
    elif kind == "bzip2":
        files[entry["Layers"][0]] = bz2.compress(b"x")
    elif kind == "names":
        entry["RepoTags"] = [1]
    elif kind == "entry":
        entries = [[]]
    elif kind == "empty":
        entries = []
    elif kind == "huge":
        files[name] = bytes(MOST + 1)
    files["manifest.json"] = dumped(entries)
    return files


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("layer lacks", "not in the archive"),
        ("config lacks", "not in the archive"),
        ("layer is a path", "outside"),
        ("config is a path", "outside"),
        ("fewer layers", "names 2 layers, the archive 1"),
        ("no rootfs", "does not say what its layers are"),
        ("diff_id", "not a digest"),
        ("bzip2", "no runtime takes"),
        ("names", "what is no name"),
        ("entry", "not what docker save writes"),
        ("empty", "names no image"),
        ("huge", "more than the"),
    ],
)
def test_a_saved_image_that_is_wrong_is_refused_in_one_line(
    tmp_path: pathlib.Path, kind: str, words: str
) -> None:
    with pytest.raises(BadArchive, match=words) as raised:
        rebuilt(tmp_path, spoilt(kind))
    assert "\n" not in str(raised.value)


def test_what_holds_no_image_says_what_would(tmp_path: pathlib.Path) -> None:
    from_tar = source(tmp_path, tarred({"README": b"hello"}))
    with pytest.raises(BadArchive, match="neither an OCI layout"):
        is_saved(from_tar)
    from_tar.close()


# Writing, and reading what was written.


def exported(image: Made, name: str) -> Exported:
    body = IMAGE.blobs if image is IMAGE else image.blobs
    documents = []
    blobs: dict[Digest, int] = {}
    for digest, data in body.items():
        if data.startswith(b'{"schemaVersion"'):
            document = read_document(data, Digest.parse(digest))
            documents.append(document)
            blobs.update({piece.digest: piece.size for piece in document.blobs})
    top = next(each for each in documents if str(each.digest) == image.digest)
    main = next(each for each in documents if not each.children)
    tag = name.rpartition(":")[2]
    short = name.removeprefix("docker.io/library/")
    return Exported(name, short, tag, top, main, tuple(documents), blobs)


def written(chosen: list[Exported], blobs: dict[str, bytes], *, docker: bool) -> bytes:
    entries = archive_of(chosen, docker=docker)
    parts: list[bytes] = []
    for entry in entries:
        body = entry.body if entry.body is not None else blobs[str(entry.digest)]
        assert len(body) == entry.size
        parts += [entry.header, body, entry.padding]
    whole = b"".join([*parts, END])
    assert len(whole) == bytes_of(entries)
    return whole


contents = st.lists(st.binary(max_size=300), max_size=4)


@settings(max_examples=30, deadline=None)
@given(st.lists(contents, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_what_is_exported_is_imported_again(
    tmp_path_factory: pytest.TempPathFactory, given_: list[list[bytes]], zipped: bool, many: bool
) -> None:
    """Both formats, several images, with one platform and with more."""
    wanted: list[Made] = []
    for number, each in enumerate(given_):
        image = made([*each, bytes([number])], zipped=zipped)
        other = made([b"arm", *each], zipped=zipped, arch="arm64")
        wanted.append(indexed({"linux/amd64": image, "linux/arm64": other}) if many else image)
    names = [f"docker.io/library/image:{number}" for number in range(len(wanted))]
    blobs = {digest: body for image in wanted for digest, body in image.blobs.items()}
    chosen = [exported(image, name) for image, name in zip(wanted, names, strict=True)]
    folder = tmp_path_factory.mktemp("round")
    for docker in (False, True):
        found = images(source(folder, written(chosen, blobs, docker=docker)))
        assert [each.names for each in found] == [(name,) for name in names]
        assert [str(each.top.digest) for each in found] == [image.digest for image in wanted]
        for again, image in zip(found, wanted, strict=True):
            everything = {*again.blobs, *(document.digest for document in again.documents)}
            assert {str(digest) for digest in everything} == set(image.blobs)
            assert again.left_out == ()


def test_dockers_own_format_is_read_without_the_layout_too(tmp_path: pathlib.Path) -> None:
    image = made([b"one"], zipped=False)
    whole = written([exported(image, ALPINE)], image.blobs, docker=True)
    from_tar = source(tmp_path, whole)
    (again,) = read_saved(from_tar, MOST)
    from_tar.close()
    assert again.names == ("alpine:3.20",)
    assert [str(each.digest) for each in again.layers] == [sha(each) for each in image.layers]


def test_two_images_with_one_tag_are_told_apart() -> None:
    one, two = made([b"1"]), made([b"2"])
    entries = archive_of(
        [exported(one, "docker.io/library/a:1"), exported(two, "docker.io/library/b:1")],
        docker=False,
    )
    index = json.loads(entries[1].body or b"")
    refs = [each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]]
    assert refs == ["docker.io/library/a:1", "docker.io/library/b:1"]
