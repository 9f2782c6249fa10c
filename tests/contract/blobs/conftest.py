"""The stores of image bytes that are shipped, each empty, and a real S3 server for one of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, KEYS, S3Server, s3_server

from floe.blobs.files import FileBlobs
from floe.blobs.protocol import Blobs
from floe.blobs.s3 import S3Blobs
from floe.core.object_stores import S3Address
from floe.pools import Pool


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    before = {name: os.environ.get(name) for name in KEYS}
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        os.environ.update(KEYS)
        yield running
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture
def address(server: S3Server) -> S3Address:
    return S3Address(bucket=BUCKET, prefix=f"cloud/{uuid.uuid4()}", endpoint=server.endpoint, path_style=True)


@pytest.fixture
def s3(address: S3Address) -> Iterator[S3Blobs]:
    """Give a store in a bucket, in pieces of 1 MiB."""
    pool = Pool("blobs", 2)
    yield S3Blobs(address, pool, piece=1 << 20)
    pool.close()


@pytest.fixture(params=["files", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "s3":
        found: S3Blobs = request.getfixturevalue("s3")
        return found
    return FileBlobs(tmp_path / "blobs")
