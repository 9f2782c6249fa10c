"""The config drive: an ISO 9660 image labelled `config-2` with the documents of one guest."""

from __future__ import annotations

import io
import json
from pathlib import Path

from msgspec.structs import replace

from floe.agent import documents
from floe.agent.documents import GuestView

LABEL = "config-2"


def contents(view: GuestView) -> dict[str, bytes]:
    """Return the files of a guest's config drive: path -> content."""
    full = replace(view, admin_password=view.admin_password or view.metadata.admin_password)
    files: dict[str, bytes] = {}
    for version in (*documents.OPENSTACK_VERSIONS, "latest"):
        for name, content in documents.openstack_files(full, version).items():
            if name != "password":  # it can be asked for, but nothing can be written to a CD
                files[f"openstack/{version}/{name}"] = content
    for number, content in documents.content_files(full).items():
        files[f"openstack/content/{number}"] = content
    data = documents.user_data(full.metadata)
    for version in ("2009-04-04", "latest"):
        files[f"ec2/{version}/meta-data.json"] = json.dumps(documents.ec2_document(full, version)).encode()
        if data is not None:
            files[f"ec2/{version}/user-data"] = data
    return files


def write(path: Path, files: dict[str, bytes]) -> None:
    """Write the drive, readable by its owner only (it may hold a password); an existing one is replaced."""
    import pycdlib  # 40 ms of import that most hosts' starts do without

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=4, vol_ident=LABEL, rock_ridge="1.09", joliet=3)
    made: dict[str, str] = {"": ""}
    for index, (name, content) in enumerate(sorted(files.items())):
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in made:
                made[folder] = f"{made['/'.join(parts[: depth - 1])]}/D{len(made):03}"
                iso.add_directory(made[folder], rr_name=parts[depth - 1], joliet_path=f"/{folder}")
        target = f"{made['/'.join(parts[:-1])]}/F{index:03}."
        iso.add_fp(io.BytesIO(content), len(content), target, rr_name=parts[-1], joliet_path=f"/{name}")
    partial = path.with_name(path.name + ".partial")
    partial.touch(mode=0o600)
    with partial.open("r+b") as file:
        iso.write_fp(file)
    iso.close()
    partial.replace(path)
