"""Signatures of images: which are believed, of which keys, and what cannot be one."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from signers import DAY, NOW, Signer, root, signed, signer, usage

from floe.blobs import signatures
from floe.cloud.image_certificates import public_key
from floe.core.errors import Invalid
from floe.core.image_signatures import HASHES, VALUES, ImageProof, signature_of, trusted_ids
from floe.core.images import Image, guest_image

DATA = b"what a guest runs" * 1000
KEYS: dict[str, Any] = {
    "RSA-PSS": rsa.generate_private_key(65537, 2048),
    "DSA": dsa.generate_private_key(2048),
    "ECC_SECP384R1": ec.generate_private_key(ec.SECP384R1()),
    "ECC_SECP521R1": ec.generate_private_key(ec.SECP521R1()),
}
ANN = signer(key=KEYS["ECC_SECP384R1"])


def proof(by: Signer, properties: dict[str, str]) -> ImageProof:
    found = signature_of("img", properties)
    assert found is not None
    return ImageProof(signature=found, public_key=by.public_key())


def digest(data: bytes, method: str) -> bytes:
    return hashlib.new(HASHES[method], data).digest()


@pytest.mark.parametrize("method", HASHES)
@pytest.mark.parametrize("key_type", KEYS)
def test_what_the_holder_of_a_key_signed_is_believed_and_nothing_else(key_type: str, method: str) -> None:
    by, other = signer(key=KEYS[key_type]), signer(key=KEYS["ECC_SECP384R1"])
    found = proof(by, by.properties(DATA, method))
    assert signatures.is_signed(found, digest(DATA, method))
    assert not signatures.is_signed(found, digest(DATA + b"\0", method))
    for another in HASHES.keys() - {method}:
        assert not signatures.is_signed(found, digest(DATA, another))
    if key_type != "ECC_SECP384R1":
        with pytest.raises(Invalid, match="Invalid public key type"):
            signatures.is_signed(proof(other, by.properties(DATA, method)), digest(DATA, method))


@pytest.mark.parametrize("salt", [padding.PSS.MAX_LENGTH, padding.PSS.DIGEST_LENGTH, 0])
def test_a_signer_takes_as_much_salt_as_it_likes(salt: Any) -> None:
    by = signer(key=KEYS["RSA-PSS"])
    told = by.properties(DATA) | {"img_signature": base64.b64encode(signed(by.key, DATA, "SHA-256", salt)).decode()}
    assert signatures.is_signed(proof(by, told), digest(DATA, "SHA-256"))


@given(where=st.integers(0, len(DATA) * 8 - 1), method=st.sampled_from(list(HASHES)))
@settings(max_examples=10)
def test_bytes_of_which_one_bit_is_another_were_not_signed(where: int, method: str) -> None:
    altered = bytearray(DATA)
    altered[where // 8] ^= 1 << where % 8
    found = proof(ANN, ANN.properties(DATA, method))
    assert not signatures.is_signed(found, digest(bytes(altered), method))


@given(told=st.binary(min_size=1, max_size=1024), key_type=st.sampled_from(list(KEYS)))
@settings(max_examples=20)
def test_bytes_that_are_no_signature_prove_nothing(told: bytes, key_type: str) -> None:
    by = signer(key=KEYS[key_type])
    properties = ANN.properties(DATA) | {
        "img_signature": base64.b64encode(told).decode(),
        "img_signature_key_type": key_type,
    }
    assert not signatures.is_signed(proof(by, properties), digest(DATA, "SHA-256"))


GOOD = ANN.properties(DATA)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        *(({name: ""}, f"Missing property: {name}") for name in VALUES),
        ({"img_signature": "not base64!"}, "img_signature must be base64"),
        ({"img_signature": "====AAAA"}, "not properly encoded"),
        ({"img_signature": "A" * 65536}, "img_signature must be base64 of at most 1024 bytes"),
        ({"img_signature": "A" * 2048}, "has 1536 bytes; it must have 1 to 1024"),
        ({"img_signature": "é" * 8}, "img_signature must be"),
        ({"img_signature_hash_method": "MD5"}, "must be SHA-224"),
        ({"img_signature_hash_method": "sha-256"}, "must be SHA-224"),
        ({"img_signature_key_type": "ECC_SECT571K1"}, "must be RSA-PSS"),
        ({"img_signature_certificate_uuid": "../../etc/passwd"}, "must be the UUID"),
        ({"img_signature_certificate_uuid": "\uff11" * 36}, "must be the UUID"),
        ({"img_signature_certificate_uuid": "1" * 32}, "must be the UUID"),
    ],
)
def test_what_cannot_be_checked_is_refused_by_name(changed: dict[str, str], text: str) -> None:
    with pytest.raises(Invalid, match=re.escape(text)):
        signature_of("img", GOOD | changed)


def test_lines_of_base64_are_one_text_and_nothing_is_no_signature() -> None:
    assert signature_of("img", {"hw_disk_bus": "virtio", "img_signature": ""}) is None
    value = GOOD["img_signature"]
    lines = {**GOOD, "img_signature": f"{value[:64]}\n{value[64:]}\n"}
    assert signature_of("img", lines) == signature_of("img", GOOD)


def test_certificates_are_trusted_by_their_ids_each_once() -> None:
    ident = ANN.ident
    assert trusted_ids(None) is None
    assert trusted_ids([ident.upper()]) == (ident,)
    for wrong in (["../x"], [ident, ident.upper()], [ident + "\n"], [ident[:-1]]):
        with pytest.raises(Invalid, match="trusted_image_certificates"):
            trusted_ids(wrong)


def test_a_release_that_verifies_nothing_finds_no_checksum_of_a_signed_image() -> None:
    image = Image(id="img", name=None, owner=None, created_at=NOW, updated_at=NOW, size=1, sha512="5" * 128)
    assert guest_image(image).checksum == image.sha512
    for properties in (GOOD, {"img_signature": "AAAA"}):
        told = guest_image(structs.replace(image, properties=properties))
        assert (told.checksum, told.sha512) == ("", image.sha512)


# -- whose certificate it is --------------------------------------------------------------------------------


def asked(folder: Path | None, by: Signer, *trusted: Signer) -> str:
    found = signature_of("img", by.properties(DATA))
    assert found is not None
    return public_key(folder, found, [each.ident for each in trusted] or None, NOW)


def test_a_certificate_counts_whose_issuers_are_trusted_up_to_the_first(tmp_path: Path) -> None:
    first = root().keep(tmp_path)
    middle = signer(first, ca=True, use=usage("key_cert_sign")).keep(tmp_path)
    leaf = signer(middle).keep(tmp_path)
    assert asked(tmp_path, leaf) == leaf.public_key(), "none is named"
    assert asked(tmp_path, leaf, middle, first) == leaf.public_key()
    assert asked(tmp_path, leaf, first, leaf, root().keep(tmp_path), root(), middle) == leaf.public_key()
    assert asked(tmp_path, first, first) == first.public_key(), "issued by itself"
    for trusted in ([first], [middle], [leaf], [root().keep(tmp_path)], [root()]):
        with pytest.raises(Invalid, match="Could not locate the signing certificate"):
            asked(tmp_path, leaf, *trusted)


def test_an_issuer_does_not_count_that_may_not_issue_or_not_now(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    for issuer in (
        signer(ca=False, use=usage("key_cert_sign")),
        signer(ca=True, use=usage("digital_signature")),
        signer(ca=True, use=None),
        root(last=NOW - timedelta(hours=1)),
        root(first=NOW + timedelta(hours=1)),
        root(key=weak),
    ):
        leaf = signer(issuer.keep(tmp_path)).keep(tmp_path)
        with pytest.raises(Invalid, match="Could not locate the signing certificate"):
            asked(tmp_path, leaf, issuer)
    good = root().keep(tmp_path)
    impostor = root(name=good.certificate.subject.rfc4514_string().removeprefix("CN="))
    with pytest.raises(Invalid, match="Could not locate the signing certificate"):
        asked(tmp_path, signer(impostor).keep(tmp_path), good)


def test_an_issuer_allows_so_many_below_it(tmp_path: Path) -> None:
    for below, works in ((0, False), (1, True)):
        first = root(below=below).keep(tmp_path)
        middle = signer(first, ca=True, use=usage("key_cert_sign")).keep(tmp_path)
        leaf = signer(middle).keep(tmp_path)
        if works:
            asked(tmp_path, leaf, first, middle)
        else:
            with pytest.raises(Invalid, match="chains of sufficient length"):
                asked(tmp_path, leaf, first, middle)
        assert asked(tmp_path, signer(first).keep(tmp_path), first)


def test_issuers_that_issued_each_other_are_no_chain_without_end(tmp_path: Path) -> None:
    one, two = (root(name=name) for name in "ab")
    by_two = Signer(
        one.ident, one.key, signer(two, key=one.key, name="a", ca=True, use=usage("key_cert_sign")).certificate
    )
    by_one = Signer(
        two.ident, two.key, signer(one, key=two.key, name="b", ca=True, use=usage("key_cert_sign")).certificate
    )
    leaf = signer(by_one).keep(tmp_path)
    with pytest.raises(Invalid, match="Could not locate the signing certificate"):
        asked(tmp_path, leaf, by_two.keep(tmp_path), by_one.keep(tmp_path))


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"last": NOW - timedelta(minutes=1)}, "outside its valid date range"),
        ({"first": NOW + timedelta(minutes=1), "last": NOW + DAY}, "outside its valid date range"),
        ({"use": usage("key_encipherment")}, "not for signatures"),
        ({"key": rsa.generate_private_key(65537, 1024)}, "key of 1024 bits"),
        ({"key": ec.generate_private_key(ec.SECP256R1())}, "Invalid public key type"),
    ],
)
def test_a_certificate_does_not_count(tmp_path: Path, more: dict[str, Any], text: str) -> None:
    by = signer(**more).keep(tmp_path)
    key_type = "RSA-PSS" if "RSA" in type(by.key).__name__ else "ECC_SECP384R1"
    found = signature_of("img", by.properties(DATA, key_type=key_type))
    assert found is not None
    with pytest.raises(Invalid, match=text):
        public_key(tmp_path, found, None, NOW)


def test_a_file_that_is_no_certificate_is_none_and_names_lead_nowhere_else(tmp_path: Path) -> None:
    folder, by = tmp_path / "certificates", signer()
    path = folder / f"{by.ident}.pem"
    for missing in (None, folder):
        with pytest.raises(Invalid, match=f"Certificate not found with ID: {by.ident}"):
            asked(missing, by)
    folder.mkdir()
    mended = "An administrator has to mend that"
    for content in (b"", b"nonsense", by.pem() + by.pem(), by.pem() + b"\n" * (64 << 10), b"\0" * (1 << 20)):
        path.write_bytes(content)
        with pytest.raises(Invalid, match=mended):
            asked(folder, by)
    path.unlink()
    outside = tmp_path / "outside.pem"
    outside.write_bytes(by.pem())
    path.symlink_to(outside)
    with pytest.raises(Invalid, match="cannot be read"):
        asked(folder, by)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Invalid, match=mended):
        asked(folder, by)
