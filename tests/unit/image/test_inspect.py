"""What an image is, is decided by its bytes."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from floe.blobs.inspect import HEAD, Found, Inspection
from floe.core.errors import FloeError, Invalid, UnsupportedMedia

LIMIT = 1 << 40


def look(data: bytes, disk_format: str, step: int = 65536, limit: int = LIMIT) -> Found:
    inspection = Inspection(disk_format, limit)
    for at in range(0, len(data), step):
        inspection.feed(data[at : at + step])
    return inspection.finish()


def qemu_img(*args: str | Path) -> None:
    subprocess.run(["qemu-img", *args], check=True, capture_output=True)


def made(tmp_path: Path, disk_format: str, *options: str, size: str = "16M") -> bytes:
    path = tmp_path / f"made.{disk_format}"
    qemu_img("create", "-f", disk_format, *options, path, size)
    return path.read_bytes()


def qcow2(
    *, version: int = 3, size: int = 1 << 24, backing: bytes = b"", incompatible: int = 0, crypt: int = 0, l1: int = 1
) -> bytes:
    """Build a header by hand, as an attacker would, with room for its tables behind it."""
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        *(b"QFI\xfb", version, 512 if backing else 0, len(backing), 16, size, crypt, l1),
        *(3 << 16, 1 << 16, 1, 0, 0),
    )
    header += struct.pack(">QQQII", incompatible, 0, 0, 4, 104)
    return (header.ljust(512, b"\0") + backing).ljust(4 << 16, b"\0")


def test_a_qcow2_shows_the_size_of_the_disk_inside(tmp_path: Path) -> None:
    assert look(made(tmp_path, "qcow2", size="3G"), "qcow2") == Found(format="qcow2", virtual_size=3 << 30)


@pytest.mark.parametrize(
    "options", [("-o", "compat=0.10"), ("-o", "compression_type=zstd"), ("-o", "lazy_refcounts=on")]
)
def test_usual_kinds_of_qcow2_are_taken(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert look(made(tmp_path, "qcow2", *options), "qcow2").format == "qcow2"


@pytest.mark.parametrize(("name", "disk_format"), [("vmdk", "vmdk"), ("vdi", "vdi"), ("vpc", "vhd"), ("vhdx", "vhdx")])
def test_other_formats_are_known_too(tmp_path: Path, name: str, disk_format: str) -> None:
    found = look(made(tmp_path, name), disk_format)
    assert found.format == disk_format
    assert 16 << 20 <= found.virtual_size < 17 << 20


def test_a_stream_optimized_vmdk_is_taken(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(1 << 20) + b"x" * 70000)
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, tmp_path / "made.vmdk")
    assert look((tmp_path / "made.vmdk").read_bytes(), "vmdk").format == "vmdk"


@pytest.mark.parametrize("disk_format", ["raw", "ami", "ari", "aki"])
def test_what_is_no_format_is_raw(disk_format: str) -> None:
    assert look(b"just some bytes\x00\xff" * 5000, disk_format) == Found(format="raw", virtual_size=85000)


def test_a_partition_table_is_raw() -> None:
    sector = bytes(446) + struct.pack("<B3BB3BII", 0x80, 0, 2, 0, 0x83, 0, 3, 0, 2048, 4096) + bytes(48) + b"\x55\xaa"
    assert look(sector + bytes(1 << 20), "raw").format == "raw"


def test_an_iso_with_a_partition_table_is_an_iso() -> None:
    descriptor = bytearray(b"\x01CD001\x01".ljust(2048, b"\0"))
    descriptor[80:88] = struct.pack("<L", 40) + struct.pack(">L", 40)
    descriptor[128:132] = struct.pack("<H", 2048) + struct.pack(">H", 2048)
    data = bytes(510) + b"\x55\xaa" + bytes(32768 - 512) + bytes(descriptor) + bytes(2048 * 23)
    assert look(data, "iso") == Found(format="iso", virtual_size=40 * 2048)
    with pytest.raises(UnsupportedMedia, match="disk_format is raw, but its data is iso"):
        look(data, "raw")


@pytest.mark.parametrize("step", [1, 7, 512, 1 << 20])
def test_a_verdict_does_not_depend_on_how_the_bytes_were_cut(tmp_path: Path, step: int) -> None:
    data = made(tmp_path, "vmdk")[: 1 << 17]
    assert look(data, "vmdk", step).format == "vmdk"
    with pytest.raises(UnsupportedMedia):
        look(data, "raw", step)


@pytest.mark.parametrize("declared", ["raw", "aki", "vmdk", "iso", "vhd"])
def test_a_qcow2_that_poses_as_something_else_is_refused(tmp_path: Path, declared: str) -> None:
    with pytest.raises(UnsupportedMedia, match=f"disk_format is {declared}, but its data is qcow2"):
        look(made(tmp_path, "qcow2"), declared)


@pytest.mark.parametrize("declared", ["qcow2", "vmdk", "vdi", "vhd", "vhdx", "iso"])
def test_raw_bytes_that_pose_as_a_format_are_refused(declared: str) -> None:
    with pytest.raises(UnsupportedMedia, match=f"disk_format is {declared}, but its data is raw"):
        look(bytes(1 << 20), declared)


def test_a_header_shorter_than_a_sector_still_counts() -> None:
    with pytest.raises(UnsupportedMedia, match="qcow2"):
        look(qcow2(backing=b"/etc/shadow")[:120], "raw")


def test_two_formats_in_one_are_refused() -> None:
    data = bytearray(qcow2().ljust(1 << 18, b"\0"))
    data[32768:34816] = b"\x01CD001\x01".ljust(2048, b"\0")
    for declared in ("qcow2", "iso", "raw"):
        with pytest.raises(UnsupportedMedia, match="qcow2 and iso"):
            look(bytes(data), declared)


def test_a_format_nobody_may_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMedia, match="but its data is qed"):
        look(b"QED\x00".ljust(70000, b"\0"), "raw")
    with pytest.raises(UnsupportedMedia, match="but its data is luks"):
        look(b"LUKS\xba\xbe\x00\x01".ljust(70000, b"\0"), "raw")


@pytest.mark.parametrize(
    "backing", [b"/etc/shadow", b'json:{"driver":"file","filename":"/etc/shadow"}', b"nbd://10.0.0.1/x"]
)
@pytest.mark.parametrize("version", [2, 3])
def test_a_backing_file_is_refused(backing: bytes, version: int) -> None:
    with pytest.raises(Invalid, match="has a backing file"):
        look(qcow2(version=version, backing=backing), "qcow2")


def test_a_backing_file_made_by_qemu_img_is_refused(tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", tmp_path / "base", "1M")
    qemu_img("create", "-f", "qcow2", "-b", tmp_path / "base", "-F", "qcow2", tmp_path / "top")
    with pytest.raises(Invalid, match="has a backing file"):
        look((tmp_path / "top").read_bytes(), "qcow2")


def test_an_external_data_file_is_refused(tmp_path: Path) -> None:
    data = made(tmp_path, "qcow2", "-o", f"data_file={tmp_path / 'data'},data_file_raw=on")
    with pytest.raises(Invalid, match="data is in an external file"):
        look(data, "qcow2")


@pytest.mark.parametrize("bit", [4, 5, 17, 63])
def test_unknown_features_are_refused(bit: int) -> None:
    with pytest.raises(Invalid, match="features that are not supported"):
        look(qcow2(incompatible=1 << bit), "qcow2")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (qcow2(version=1), "version 1"),
        (qcow2(version=4), "version 4"),
        (qcow2(crypt=1), "encrypted"),
        (qcow2(l1=1 << 30), "L1 entries"),
        (qcow2(size=1 << 39), "its tables reach"),
        (qcow2()[: 3 << 16], "cut off"),
    ],
)
def test_a_qcow2_that_makes_no_sense_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(Invalid, match=text):
        look(data, "qcow2")


def test_a_truncated_vhdx_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FloeError, match="vhdx"):
        look(made(tmp_path, "vhdx")[:100_000], "vhdx")


def test_a_disk_that_is_too_large_inside_is_refused(tmp_path: Path) -> None:
    data = made(tmp_path, "qcow2", size="2T")
    assert len(data) < HEAD
    with pytest.raises(Invalid, match=rf"{2 << 40} bytes large; this cloud takes at most {LIMIT}"):
        look(data, "qcow2")
    with pytest.raises(Invalid, match="bytes large"):
        look(bytes(2000), "raw", limit=1999)


def test_a_vmdk_with_extents_outside_itself_is_refused(tmp_path: Path) -> None:
    text = b'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 20480 FLAT "/etc/shadow" 0\n'
    with pytest.raises(UnsupportedMedia):
        look(text.ljust(600, b"\n"), "raw")
    with pytest.raises(Invalid, match="extents outside"):
        look(text.ljust(600, b"\n"), "vmdk")
    sparse = made(tmp_path, "vmdk")
    assert b'SPARSE "made.vmdk"' in sparse
    with pytest.raises(Invalid, match="extents outside"):
        look(sparse.replace(b'SPARSE "made.vmdk"', b'SPARSE "/etc/hosts"'), "vmdk")


def test_a_bad_image_is_refused_as_soon_as_it_shows() -> None:
    inspection = Inspection("qcow2", LIMIT)
    with pytest.raises(Invalid, match="backing file"):
        inspection.feed(qcow2(backing=b"/etc/shadow").ljust(HEAD, b"\0"))
    other = Inspection("qcow2", LIMIT)
    with pytest.raises(UnsupportedMedia):
        other.feed(bytes(HEAD))


def test_no_bytes_at_all_are_a_plain_disk_without_a_size_and_nothing_else() -> None:
    assert look(b"", "raw") == Found(format="raw", virtual_size=None)
    with pytest.raises(UnsupportedMedia, match="raw"):
        look(b"", "qcow2")
