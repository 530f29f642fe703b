"""Arrays as bytes: a damaged file is refused, whatever it is that is damaged."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from models.arrays import pack, pack_names, unpack

ARRAYS = {
    # longer than what zipfile reads at once, so that its header is parsed before the sum is known
    "weights": np.arange(3000.0).reshape(3, 1000),
    "names": pack_names(["a", "bcd"]),
    "seen": np.array([True, False]),
    "count": np.array(7),
}
HEADER = 200
"""Bytes in which the first array's headers lie, the archive's and numpy's."""

TIMES = 300


def test_equal_arrays_give_equal_bytes_and_come_back() -> None:
    raw = pack(ARRAYS)
    assert raw == pack({name: array.copy() for name, array in ARRAYS.items()})
    found = unpack(raw)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


@pytest.mark.filterwarnings("ignore")  # numpy warns of what looks like Python 2's or an old type
@pytest.mark.parametrize("where", ["all over", "headers"])
def test_a_damaged_file_is_read_or_refused(where: str) -> None:
    raw, rng = pack(ARRAYS), np.random.default_rng(1)
    refused = 0
    for _ in range(TIMES):
        damaged = bytearray(raw)
        at = rng.integers(len(raw) if where == "all over" else HEADER)
        damaged[at] ^= rng.integers(1, 256)
        try:
            unpack(bytes(damaged))
        except ValueError:
            refused += 1
    assert refused > TIMES // 2


def archive(header: bytes, *, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive of one array with this header, whose sums are right."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        length = len(header).to_bytes(2, "little")
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00" + length + header + bytes(16))
    return file.getvalue()


def header(kind: str = "'<f8'", shape: str = "(2,)") -> bytes:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}\n".encode()


def test_the_headers_below_differ_from_a_good_one_alone() -> None:
    assert unpack(archive(header()))["w"].tolist() == [0, 0]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(pack(ARRAYS)[:-1], id="cut"),
        pytest.param(archive(b"{'descr': (\n"), id="open bracket"),
        pytest.param(archive(b"'''"), id="open string"),
        pytest.param(archive(b"  x\n y\n"), id="indented"),
        pytest.param(archive(b"(" * 900 + b")" * 900), id="deep"),
        pytest.param(archive(header(shape="(1 << 62,)")), id="no number"),
        pytest.param(archive(header(shape="(1000000000000000,)")), id="petabytes"),
        pytest.param(archive(header(shape="(9999999999999999999999,)")), id="beyond int64"),
        pytest.param(archive(header(shape="(-2,)")), id="negative"),
        pytest.param(archive(header(kind="'O'")), id="objects"),
        pytest.param(archive(header(kind="[1, {}]")), id="no type"),
    ],
)
def test_damage_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(raw)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_compressed_is_a_value_error(method: int) -> None:
    raw = bytearray(archive(header(), method=method))
    raw[raw.index(b"PK\x01\x02") - 9] ^= 0xFF
    with pytest.raises(ValueError):
        unpack(bytes(raw))


@pytest.mark.parametrize(
    ("offset", "value"),
    [(8, 0x1), (8, 0x20), (10, 0x55), (6, 0xFF)],
    ids=["encrypted", "patched", "unknown method", "newer version"],
)
def test_what_the_archive_cannot_do_is_a_value_error(offset: int, value: int) -> None:
    raw = bytearray(archive(header()))
    entry = raw.index(b"PK\x01\x02")
    raw[entry + offset] = value
    with pytest.raises(ValueError, match=r"not an \.npz file"):
        unpack(bytes(raw))
