"""Names in folders and archives: separators, links, what cannot be read, and work directories."""

import lzma
import os
import stat
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import FILES, PIXELS, open_images, refusal, tar_bytes, write_folder, zip_bytes

from l1jax.data.archive_members import select_images
from l1jax.data.image_files import list_image_files

CAT, DOG, BIRD = "B.PNG", "a/1.png", "a0.png"  # three different images
PETS = {"photos/cat/1.png": FILES[CAT], "photos/dog/1.png": FILES[DOG]}


def seen(source):
    """The images by class and what they show."""
    shown = {pixels.tobytes(): name for name, pixels in PIXELS.items()}
    labels = (
        [""] * source.length
        if source.labels is None
        else [source.classes[i] for i in source.labels]
    )
    return sorted((label, shown[source.example(i).tobytes()]) for i, label in enumerate(labels))


def with_links(path, kind, files, links):
    """A folder, tar or zip of files and symbolic links."""
    if kind == "folder":
        write_folder(path, files)
        for name, target in links.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).symlink_to(target)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, target in links.items():
                member = zipfile.ZipInfo(name)
                member.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(member, target)
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        path.write_bytes(tar_bytes(files))
        with tarfile.open(path, "a") as tar:
            for name, target in links.items():
                member = tarfile.TarInfo(name)
                member.type, member.linkname = tarfile.SYMTYPE, target
                tar.addfile(member)
        if kind == "tar.xz":
            path.write_bytes(lzma.compress(path.read_bytes()))
    return path


EVERYWHERE = pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz", "zip"])


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.replace("/", "\\"),
        lambda name: f".\\{name}".replace("/", "\\"),
        lambda name: name.replace("photos/", "photos\\"),
        lambda name: f"C:\\Users\\me\\{name}".replace("/", "\\"),
        lambda name: f"./{name}",
        lambda name: f"/{name}",
        lambda name: f"//{name}",
        lambda name: name.replace("/", "//"),
        lambda name: name.replace("/", "/./"),
    ],
)
@pytest.mark.parametrize("packer", [zip_bytes, tar_bytes])
def test_however_folders_are_separated_it_is_the_same_data_set(tmp_path, packer, change):
    (tmp_path / "plain").write_bytes(packer(PETS))
    (tmp_path / "other").write_bytes(
        packer({change(name): content for name, content in PETS.items()})
    )
    plain, other = open_images(tmp_path / "plain"), open_images(tmp_path / "other")
    np.testing.assert_array_equal(other.labels, [0, 1])
    assert other.classes == ("cat", "dog")
    assert other.fingerprint == plain.fingerprint
    assert seen(other) == [("cat", CAT), ("dog", DOG)]


def test_an_archive_extracted_without_its_folders_is_the_same_data_set(tmp_path):
    write_folder(
        tmp_path / "flat", {name.replace("/", "\\"): content for name, content in PETS.items()}
    )
    flat, plain = (
        open_images(tmp_path / "flat"),
        open_images(write_folder(tmp_path / "plain", PETS)),
    )
    assert flat.fingerprint == plain.fingerprint
    assert seen(flat) == [("cat", CAT), ("dog", DOG)]


@pytest.mark.parametrize("packer", [zip_bytes, tar_bytes])
@pytest.mark.parametrize("name", ["..\\out.png", "a\\..\\..\\out.png"])
def test_a_name_that_leads_out_with_backslashes_is_refused(tmp_path, packer, name):
    (tmp_path / "t").write_bytes(packer({name: FILES[CAT], **PETS}))
    refusal(lambda: open_images(tmp_path / "t"), "out.png'", "leads out of the archive")


@EVERYWHERE
def test_two_class_folders_that_lead_to_one_folder_both_have_its_images(tmp_path, kind):
    files = {".store/1.png": FILES[CAT], ".store/2.png": FILES[DOG], "bird/1.png": FILES[BIRD]}
    path = with_links(tmp_path / "d", kind, files, {"cat": ".store", "dog": "./.store/."})
    assert seen(open_images(path)) == sorted(
        [("bird", BIRD), *((kind, image) for kind in ("cat", "dog") for image in (CAT, DOG))]
    )


@EVERYWHERE
def test_a_link_to_a_link_is_followed(tmp_path, kind):
    links = {"a/1.png": "../b/1.png", "b/1.png": "../c/x/../1.png", "d": "a", "e": "d"}
    path = with_links(tmp_path / "d", kind, {"c/1.png": FILES[CAT], "c/x/2.png": FILES[DOG]}, links)
    assert seen(open_images(path)) == [
        ("a", CAT), ("b", CAT), ("c", CAT), ("c", DOG), ("d", CAT), ("e", CAT)
    ]  # fmt: skip


@EVERYWHERE
def test_a_link_leads_to_a_file_without_an_images_suffix(tmp_path, kind):
    """As a download of the Hugging Face Hub does."""
    files = {"blobs/8f3a": FILES[CAT], "blobs/77ee": FILES[DOG]}
    links = {"main/cat/1.png": "../../blobs/8f3a", "main/dog/1.png": "../../blobs/77ee"}
    assert seen(open_images(with_links(tmp_path / "d", kind, files, links))) == [
        ("cat", CAT),
        ("dog", DOG),
    ]


@EVERYWHERE
def test_a_loop_ends_where_it_closes(tmp_path, kind):
    files = {"a/1.png": FILES[CAT], "b/2.png": FILES[DOG]}
    links = {"a/up": "..", "b/self": ".", "b/other": "../a"}
    path = with_links(tmp_path / "d", kind, files, links)
    assert seen(open_images(path)) == [("a", CAT), ("b", CAT), ("b", DOG)]


@EVERYWHERE
def test_folders_that_all_link_to_each_other_are_refused_and_not_walked_for_ever(
    tmp_path, monkeypatch, kind
):
    for module in ("folders", "archive_members"):
        monkeypatch.setattr(f"l1jax.data.{module}.MAX_VISITS", 50)
    files = {f"{i}/x.png": FILES[CAT] for i in range(5)}
    links = {f"{i}/{j}": f"../{j}" for i in range(5) for j in range(5) if i != j}
    path = with_links(tmp_path / "d", kind, files, links)
    refusal(lambda: open_images(path), "`data.path`", "from over 50 places")


@EVERYWHERE
@pytest.mark.parametrize(
    ("name", "target", "what"),
    [
        ("cat/2.png", "gone.png", "image"),
        ("cat/2.png", "2.png", "image"),
        ("dog", "gone", "folder"),
        ("dog", "../../../gone/far", "folder"),
    ],
)
def test_a_link_that_leads_nowhere_stops_or_is_skipped(tmp_path, kind, name, target, what):
    path = with_links(tmp_path / "d", kind, {"cat/1.png": FILES[CAT]}, {name: target})
    refusal(lambda: open_images(path), f"the {what} {name!r}", "link", "--data.on-error skip")
    source = open_images(path, on_error="skip")
    assert source.length == 1
    assert len(source.skipped) == 1
    assert name in source.skipped[0]


@EVERYWHERE
def test_where_nothing_is_left_skipping_is_not_proposed(tmp_path, kind):
    path = with_links(tmp_path / "d", kind, {}, {"1.png": "gone.png", "2.png": "gone.png"})
    for on_error in ("stop", "skip"):
        message = refusal(
            lambda on_error=on_error: open_images(path, on_error=on_error),
            "'1.png'",
            "nor can 1 more",
        )
        assert "--data.on-error" not in message


def test_links_that_are_no_images_do_not_matter(tmp_path):
    links = {"notes.txt": "gone.txt", ".hidden": "gone", "a/.x.png": "gone.png"}
    for kind in ("folder", "tar", "zip"):
        path = with_links(tmp_path / kind, kind, {"a/1.png": FILES[CAT]}, links)
        assert open_images(path).length == 1


def test_a_hard_link_to_a_link_is_followed(tmp_path):
    (tmp_path / "t").write_bytes(tar_bytes({"x.png": FILES[CAT]}))
    with tarfile.open(tmp_path / "t", "a") as tar:
        for name, kind, target in [
            ("a/s.png", tarfile.SYMTYPE, "../x.png"),
            ("h.png", tarfile.LNKTYPE, "a/s.png"),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    assert open_images(tmp_path / "t").length == 3


@pytest.fixture
def not_root():
    """A folder that everyone may enter, while the test runs as a user who is not root."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        open_images(
            write_folder(Path(folder) / "warm", {"x.png": FILES[CAT]})
        )  # imports what it needs
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)
            for path in Path(folder).rglob("*"):
                if path.is_dir():
                    path.chmod(0o777)


@pytest.mark.parametrize(
    "mode", [0o000, 0o300, 0o600]
)  # closed; may not be listed; may not be entered
def test_a_folder_without_permission_stops_or_is_skipped(not_root, mode):
    path = write_folder(
        not_root / "d", {"cat/1.png": FILES[CAT], "dog/1.png": FILES[DOG], "b/1.png": FILES[BIRD]}
    )
    (path / "dog").chmod(mode)
    refusal(lambda: open_images(path), "'dog", "Permission denied", "--data.on-error skip")
    source = open_images(path, on_error="skip")
    assert seen(source) == [("b", BIRD), ("cat", CAT)]
    assert len(source.skipped) == 1


def test_a_file_without_permission_stops_or_is_skipped(not_root):
    from l1jax.config import ImageData
    from l1jax.data.opening import open_examples

    path = write_folder(not_root / "d", {"cat/1.png": FILES[CAT], "dog/1.png": FILES[DOG]})
    (path / "dog/1.png").chmod(0)
    source = open_images(path)
    refusal(lambda: source.example(1), "'dog/1.png'", "(Permission denied)", "--data.on-error skip")
    source, _ = open_examples(ImageData(str(path), image_size=4, on_error="skip"), cache=False)
    assert seen(source) == [("cat", CAT)]
    assert "dog/1.png" in source.skipped[0]


def test_a_folder_that_may_not_be_listed_itself_is_refused(not_root):
    path = write_folder(not_root / "d", {"1.png": FILES[CAT]})
    path.chmod(0)
    refusal(lambda: open_images(path), "`data.path`", "Permission denied", "permissions")


RUN = {
    f"runs/a/{name}": FILES[BIRD]
    for name in ("samples/step_0.png", "grid.png", "checkpoints/4/x.png")
}


@EVERYWHERE
def test_work_directories_are_no_images(tmp_path, kind):
    files = (
        PETS
        | RUN
        | {
            "runs/a/config.json": b"{}",
            "runs/b/selection.json": b"{}",
            "runs/b/path.png": FILES[BIRD],
        }
    )
    alone = open_images(with_links(tmp_path / "alone", kind, PETS, {}))
    source = open_images(with_links(tmp_path / "d", kind, files, {}))
    assert source.fingerprint == alone.fingerprint
    assert seen(source) == [("cat", CAT), ("dog", DOG)]
    assert [sentence.split("work directory ")[1].split(",")[0] for sentence in source.skipped] == [
        "'runs/a'", "'runs/b'"
    ]  # fmt: skip
    kept = open_images(
        with_links(
            tmp_path / "kept", kind, PETS | {"runs/config.json": b"", "runs/1.png": b"1"}, {}
        )
    )
    assert kept.length == 3  # a config.json alone makes none


def test_of_a_work_directory_that_is_the_data_folder_only_what_the_run_wrote_is_left_out(tmp_path):
    files = {"1.png": FILES[CAT], "2.png": FILES[DOG]}
    alone = open_images(write_folder(tmp_path, files)).fingerprint
    write_folder(
        tmp_path, {"config.json": b"{}", "samples/step_0.png": FILES[BIRD], "checkpoints/1/x": b""}
    )
    assert open_images(tmp_path).fingerprint == alone
    assert open_images(tmp_path / "samples").length == 1  # who names it wants it


def test_the_stamp_follows_a_change_that_leaves_size_and_time(tmp_path):
    path = write_folder(tmp_path / "d", {f"{i}.bmp": bytes(100) for i in range(100)})
    status, before = (path / "7.bmp").stat(), list_image_files(str(path)).stamp
    (path / "7.bmp").write_bytes(b"1" * 100)
    os.utime(path / "7.bmp", ns=(status.st_atime_ns, status.st_mtime_ns))
    written = list_image_files(str(path)).stamp
    assert written != before
    (path / "new").write_bytes(b"2" * 100)
    os.utime(path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (path / "new").rename(path / "7.bmp")
    assert list_image_files(str(path)).stamp not in (before, written)
    assert list_image_files(str(path)).stamp == list_image_files(str(path)).stamp


def test_an_archives_stamp_follows_a_change_that_leaves_size_and_time(tmp_path):
    for packer in (zip_bytes, tar_bytes):
        path = tmp_path / "archive"
        path.write_bytes(packer(PETS))
        status, before = path.stat(), list_image_files(str(path)).stamp
        path.write_bytes(packer(PETS))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert list_image_files(str(path)).stamp != before


def test_listing_asks_the_system_once_for_each_file(tmp_path, monkeypatch):
    """Opening 200,000 files took 8.5 seconds, most of them in pathlib and in two looks at each file."""
    write_folder(tmp_path, {f"{i % 3}/{i:04}.png": b"1" for i in range(3_000)})
    calls = []
    for name in ("stat", "lstat"):
        found = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, found=found, **k: calls.append(a) or found(*a, **k)
        )
    assert len(list_image_files(str(tmp_path)).names) == 3_000
    assert len(calls) < 50
    began = time.process_time()
    list_image_files(str(tmp_path))
    assert time.process_time() - began < 0.3


def test_a_deep_name_costs_little():
    began = time.process_time()
    deep = "a/" * 5_000 + "x.png"
    images, faults = select_images({deep: 1, "b.png": 2}, {"c.png": "b.png"})
    assert images == {deep: 1, "b.png": 2, "c.png": 2}
    assert not faults
    assert time.process_time() - began < 10
