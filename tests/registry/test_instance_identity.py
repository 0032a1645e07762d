"""The tests sign with a key of their own, which stands in for AWS; everything else is the real thing."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory_service.errors import RefusedError, SettingsError
from inventory_service.registry import instance_identity
from inventory_service.registry.instance_identity import InstanceIdentity, InstanceIdentityError, Reason
from tests.support import START

ACCOUNT, REGION, INSTANCE = "123456789012", "eu-central-1", "i-0123456789abcdef0"
FIELDS: dict[str, Any] = {
    "accountId": ACCOUNT,
    "architecture": "x86_64",
    "availabilityZone": "eu-central-1b",
    "billingProducts": None,
    "devpayProductCodes": None,
    "marketplaceProductCodes": ["4i20ezfza3p7xx2kt2g8weu2u"],
    "imageId": "ami-0c7217cdde317cfec",
    "instanceId": INSTANCE,
    "instanceType": "t3.micro",
    "kernelId": None,
    "pendingTime": "2026-11-23T13:59:00Z",
    "privateIp": "172.31.17.154",
    "ramdiskId": None,
    "region": REGION,
    "version": "2017-09-30",
}
NAME = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "A test's own AWS")])
SHIPPED = Path(instance_identity.__file__).with_name("aws_certificates")
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
ANY_KEY = ed25519.Ed25519PrivateKey.generate()

# RSA of 512 bits and RSA with the exponent 3, self-signed, made with the openssl command line for this test.
WEAK = {
    "rsa-512": """-----BEGIN CERTIFICATE-----
MIIBdzCCASGgAwIBAgIUF6156wOQ52owr8kZcEgLmtt2XKowDQYJKoZIhvcNAQEL
BQAwDzENMAsGA1UECgwEdGVzdDAgFw0yNjExMjMxNzIwMDZaGA8yMTI2MTAzMDE3
MjAwNlowDzENMAsGA1UECgwEdGVzdDBcMA0GCSqGSIb3DQEBAQUAA0sAMEgCQQDE
THdVFKKsolWWJL2fkfbs0ZLDCmrY5q9dRD5cZ6Sh+bfWfTlrm3UmtwLPsanw4twE
U17IqyB4B8z0i1l5Am9FAgMBAAGjUzBRMB0GA1UdDgQWBBQ1yZyRQjzC1T6aj2Ih
3qz8ZYohkTAfBgNVHSMEGDAWgBQ1yZyRQjzC1T6aj2Ih3qz8ZYohkTAPBgNVHRMB
Af8EBTADAQH/MA0GCSqGSIb3DQEBCwUAA0EAsiMevFEhPX1iQi5oZD4jvmC8G1Bt
FbV+qA5L9xTmlAaYm2PqM9Qj1FtjJCKm1usO3OWJDaELhNldcPSWp85tsw==
-----END CERTIFICATE-----
""",
    "exponent-3": """-----BEGIN CERTIFICATE-----
MIIB+jCCAWOgAwIBAgIUU7S9RJBa0/shDgmlkIbJ0BJBSMgwDQYJKoZIhvcNAQEL
BQAwDzENMAsGA1UECgwEdGVzdDAgFw0yNjExMjMxNzIwMDZaGA8yMTI2MTAzMDE3
MjAwNlowDzENMAsGA1UECgwEdGVzdDCBnTANBgkqhkiG9w0BAQEFAAOBiwAwgYcC
gYEA3bDq/prYSLWa/vKIvirN78RY5Yr0XpXSZtEvaJgaxgs5LYRiwGT86U0fIhyV
9vx1ZNYJqGRScBT1JvctmqQ2QbyjAepLOCN3lUxWfbKzoF8mgPTMMTuLZTVwDFF3
+UNjrSaSKPa4NAGNxsEDAbLgOPryak5AExegqhU57k7WTKcCAQOjUzBRMB0GA1Ud
DgQWBBTCWC6hcSDT1wTwcnr/aaHthr1N5DAfBgNVHSMEGDAWgBTCWC6hcSDT1wTw
cnr/aaHthr1N5DAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQEBCwUAA4GBAFfT
8DEN55ZVPVcHaX0fOrkeoCyAt6DUvBnBMrifdqqapLi1AEIKVVbIc1qJgWB76Ixg
luPNoRmRvAp3sfkKQmRLUgJPmsIM1pwM9uihu3CPnKIsOL+D9NakWDyt8ilB/ntT
FdxKS84rkyYCMSOxrHFIn0VZjom4IMWF61ZaQ67h
-----END CERTIFICATE-----
""",
}


@functools.cache
def key(name: str, bits: int = 1024) -> rsa.RSAPrivateKey:
    """One key for each name: "aws" signs, any other is a forger's or another region's."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def certificate(
    holder: Any, *, begins: dt.datetime = START - dt.timedelta(days=365), days: int = 730
) -> x509.Certificate:
    builder = x509.CertificateBuilder(NAME, NAME, holder.public_key(), x509.random_serial_number())
    valid = builder.not_valid_before(begins).not_valid_after(begins + dt.timedelta(days=days))
    return valid.sign(ANY_KEY, None)


def pem(holder: Any) -> bytes:
    return certificate(holder).public_bytes(serialization.Encoding.PEM)


@functools.cache
def trusted() -> dict[str, x509.Certificate]:
    return {REGION: certificate(key("aws")), "us-east-1": certificate(key("another region"))}


def text(**changes: Any) -> str:
    """The document as the metadata service spells it."""
    return json.dumps({**FIELDS, **changes}, indent=2, separators=(",", " : "))


def encode(raw: bytes) -> str:
    """Base64 in lines of 76 characters without a last newline, as the metadata service sends it."""
    return base64.encodebytes(raw).decode().rstrip("\n")


def sign(document: str, name: str = "aws") -> str:
    return encode(key(name).sign(document.encode(), padding.PKCS1v15(), hashes.SHA256()))


def verify(document: str, signature: str | None = None, **changes: Any) -> InstanceIdentity:
    """`verify` as the service calls it; without a signature the document is well signed."""
    usual = {"region": REGION, "account_ids": [ACCOUNT], "at": START, "certificates": trusted()}
    return instance_identity.verify(
        document, sign(document) if signature is None else signature, **{**usual, **changes}
    )


def refusal(document: str, signature: str | None = None, **changes: Any) -> InstanceIdentityError:
    with pytest.raises(InstanceIdentityError) as caught:
        verify(document, signature, **changes)
    return caught.value


def reason(document: str, signature: str | None = None, **changes: Any) -> Reason:
    return refusal(document, signature, **changes).reason


# What is accepted


def test_it_believes_what_aws_signed() -> None:
    assert verify(text()) == InstanceIdentity(
        account_id=ACCOUNT,
        region=REGION,
        instance_id=INSTANCE,
        private_ip="172.31.17.154",
        availability_zone="eu-central-1b",
        instance_type="t3.micro",
        image_id="ami-0c7217cdde317cfec",
        pending_at=START - dt.timedelta(seconds=60),
    )


def test_it_takes_a_certificate_as_pem_text() -> None:
    assert verify(text(), certificates={REGION: pem(key("aws"))}).instance_id == INSTANCE


@pytest.mark.parametrize("bits", [1024, 2048, 4096])
def test_it_believes_keys_of_the_sizes_in_use(bits: int) -> None:
    holder = key("aws", bits)
    signature = encode(holder.sign(text().encode(), padding.PKCS1v15(), hashes.SHA256()))
    assert verify(text(), signature, certificates={REGION: certificate(holder)}).instance_id == INSTANCE


@pytest.mark.parametrize("spelling", [lambda s: s.replace("\n", ""), lambda s: s + "\n"], ids=["one line", "last line"])
def test_it_does_not_care_where_the_signature_is_broken_into_lines(spelling: Any) -> None:
    assert verify(text(), spelling(sign(text()))).instance_id == INSTANCE


@pytest.mark.parametrize("missing", ["imageId", "privateIp", "architecture", "kernelId"])
def test_it_does_without_optional_fields(missing: str) -> None:
    without = json.dumps({name: value for name, value in FIELDS.items() if name != missing})
    assert verify(without).instance_id == INSTANCE
    assert verify(text(**{missing: None})).instance_id == INSTANCE


def test_it_ignores_fields_that_aws_may_add() -> None:
    assert verify(text(somethingNew={"deep": [1, 2.5, True]})).instance_id == INSTANCE


def test_it_writes_addresses_in_their_canonical_spelling() -> None:
    assert verify(text(privateIp="2001:DB8:0:0::1")).private_ip == "2001:db8::1"


@pytest.mark.parametrize("instance_id", ["i-1234abcd", "i-0123456789abcdef0"])
def test_it_knows_short_and_long_instance_ids(instance_id: str) -> None:
    assert verify(text(instanceId=instance_id)).instance_id == instance_id


# Forged, changed or borrowed


def test_it_rejects_a_document_with_one_byte_changed() -> None:
    assert reason(text(instanceId="i-0123456789abcdef1"), sign(text())) is Reason.SIGNATURE


def test_it_rejects_the_key_of_another_region() -> None:
    assert reason(text(), sign(text(), "another region")) is Reason.SIGNATURE


def test_it_does_not_let_the_document_choose_the_key() -> None:
    document = text(region="us-east-1", availabilityZone="us-east-1a")
    assert reason(document, sign(document, "another region")) is Reason.SIGNATURE


def test_it_rejects_a_document_that_brings_its_own_certificate() -> None:
    own = pem(key("forger")).decode()
    document = text(certificate=own, certificates={REGION: own})
    assert reason(document, sign(document, "forger")) is Reason.SIGNATURE


def test_it_rejects_a_signature_that_brings_its_own_certificate() -> None:
    own = pem(key("forger")).decode()
    assert reason(text(), own + sign(text(), "forger")) in {Reason.NOT_BASE64, Reason.TOO_LARGE}


@pytest.mark.parametrize("zone", ["eu-west-1a", "eu-central-1b"])
def test_it_rejects_a_region_that_shares_the_key(zone: str) -> None:
    """Many do: what AWS signed in one of them holds under the certificate of another."""
    assert reason(text(region="eu-west-1", availabilityZone=zone)) is Reason.REGION


@pytest.mark.parametrize("zone", ["us-east-1a", "eu-central-2a", "", "EU-CENTRAL-1b"])
def test_it_rejects_a_zone_outside_the_region(zone: str) -> None:
    assert reason(text(availabilityZone=zone)) in {Reason.REGION, Reason.FIELDS}


def test_it_rejects_the_account_of_somebody_else() -> None:
    assert reason(text(accountId="999999999999")) is Reason.ACCOUNT


@pytest.mark.parametrize("accounts", [[], "", f"{ACCOUNT},999999999999", [ACCOUNT[:-1]]])
def test_it_compares_accounts_whole(accounts: Any) -> None:
    assert reason(text(), account_ids=accounts) is Reason.ACCOUNT


def test_it_accepts_each_configured_account() -> None:
    assert verify(text(), account_ids=("999999999999", ACCOUNT)).account_id == ACCOUNT


# Replayed


@pytest.mark.parametrize("seconds", [-60, 0, 299, 300])
def test_it_believes_a_fresh_document(seconds: int) -> None:
    assert verify(text(pendingTime="2026-11-23T14:00:00Z"), at=START + dt.timedelta(seconds=seconds))


@pytest.mark.parametrize(("seconds", "expected"), [(301, Reason.STALE), (86400, Reason.STALE), (-61, Reason.FUTURE)])
def test_it_rejects_a_document_that_is_old_or_of_the_future(seconds: int, expected: Reason) -> None:
    at = START + dt.timedelta(seconds=seconds)
    assert reason(text(pendingTime="2026-11-23T14:00:00Z"), at=at) is expected


def test_it_believes_an_old_document_of_an_instance_that_is_known_to_run() -> None:
    at = START + dt.timedelta(days=90)
    assert verify(text(), at=at, known_running=[INSTANCE]).instance_id == INSTANCE


def test_it_rejects_the_future_even_of_an_instance_that_is_known_to_run() -> None:
    assert reason(text(pendingTime="2027-01-01T00:00:00Z"), known_running=[INSTANCE]) is Reason.FUTURE


def test_it_obeys_another_freshness() -> None:
    assert reason(text(), fresh_seconds=59) is Reason.STALE
    assert verify(text(), fresh_seconds=60)


def test_it_compares_times_of_any_zone() -> None:
    elsewhere = START.astimezone(dt.timezone(dt.timedelta(hours=9)))
    assert verify(text(), at=elsewhere).pending_at.tzinfo is dt.UTC


# The document's form: nothing but the bytes that AWS signed, and of these nothing ambiguous


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "\n",
        lambda text: text + " ",
        lambda text: " " + text,
        lambda text: "\ufeff" + text,
        lambda text: text + "\0",
        lambda text: text.replace("i-0", "\\u0069-0"),
        lambda text: text.replace("instanceId", "\\u0069nstanceId"),
        lambda text: text.replace(ACCOUNT, ACCOUNT.translate({ord("1"): "\uff11"})),
        lambda text: json.dumps(json.loads(text)),
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), indent=2, separators=(",", " : ")),
        lambda text: text + text,
        lambda _: "",
    ],
)
def test_it_rejects_another_spelling_of_the_same_document(change: Any) -> None:
    assert change(text()) != text()
    assert reason(change(text()), sign(text())) is Reason.SIGNATURE


@pytest.mark.parametrize(
    "document",
    [
        text()[:-1] + ',"instanceId" : "i-0123456789abcdef1"}',
        text()[:-1] + ',"\\u0069nstanceId" : "i-0123456789abcdef1"}',
        text()[:-1] + ',"new" : {"a" : 1, "a" : 2}}',
        text()[:-1] + ',"new" : NaN}',
        text()[:-1] + ',"new" : -Infinity}',
        text()[:-1] + ',"new" : "\0"}',
        text()[:-1] + ',"new" : ' + "[" * 3000 + "}",
        text() + "\n",
        "\n" + text(),
        text() + text(),
        "\ufeff" + text(),
        f"[{text()}]",
        '"text"',
        "{}}",
        "",
    ],
)
def test_it_rejects_even_signed_documents_that_can_be_read_in_two_ways(document: str) -> None:
    assert reason(document) is Reason.NOT_JSON


@pytest.mark.parametrize(
    "change",
    [
        {"accountId": 123456789012},
        {"accountId": "12345678901"},
        {"accountId": "\uff11" + ACCOUNT[1:]},
        {"accountId": ACCOUNT + "\n"},
        {"accountId": [ACCOUNT]},
        {"instanceId": "i-0123456789ABCDEF0"},
        {"instanceId": "i-0123456789abcdef"},
        {"instanceId": "mi-0123456789abcdef0"},
        {"instanceId": "i-0123456789abcdef0\0"},
        {"instanceId": "i-0123456789abcdef0/../x"},
        {"instanceId": None},
        {"region": None},
        {"region": "{{ lookup('pipe','id') }}"},
        {"availabilityZone": None},
        {"instanceType": "t3.micro; id"},
        {"imageId": "ami-x"},
        {"imageId": 7},
        {"privateIp": "10.0.0.256"},
        {"privateIp": "fe80::1%eth0"},
        {"privateIp": 167772161},
        {"privateIp": "-oProxyCommand=id"},
        {"privateIp": ""},
        {"pendingTime": "2026-11-23T14:00:00"},
        {"pendingTime": "2026-11-23T14:00:00+00:00"},
        {"pendingTime": "2026-13-23T14:00:00Z"},
        {"pendingTime": "2026-11-23"},
        {"pendingTime": 1795442400},
        {"pendingTime": None},
    ],
)
def test_it_rejects_fields_of_another_form(change: dict[str, Any]) -> None:
    assert reason(text(**change)) is Reason.FIELDS


@pytest.mark.parametrize("missing", ["accountId", "region", "instanceId", "availabilityZone", "pendingTime"])
def test_it_rejects_a_document_without_a_needed_field(missing: str) -> None:
    assert reason(json.dumps({name: value for name, value in FIELDS.items() if name != missing})) is Reason.FIELDS


def test_it_rejects_what_is_not_utf_8() -> None:
    assert reason(text() + "\ud800", sign(text())) is Reason.NOT_UTF8


def test_it_rejects_huge_documents_and_signatures_before_any_work() -> None:
    nobody: dict[str, Any] = {"certificates": {}}
    assert reason("x" * (instance_identity.LONGEST_DOCUMENT + 1), "AAAA", **nobody) is Reason.TOO_LARGE
    assert reason(text(), "A" * (instance_identity.LONGEST_SIGNATURE + 1)) is Reason.TOO_LARGE


# The signature's form


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "!",
        lambda text: text + "\r\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", " "),
        lambda text: " " + text,
        lambda text: text + "====",
        lambda text: text.rstrip("="),
        lambda text: text + "\0",
        lambda text: text.replace("A", "\uff21", 1) + "\uff21",
        lambda text: "-----BEGIN SIGNATURE-----\n" + text,
    ],
)
def test_it_rejects_junk_around_base64(change: Any) -> None:
    assert reason(text(), change(sign(text()))) is Reason.NOT_BASE64


def test_it_rejects_base64_with_spare_bits_set() -> None:
    """128 bytes end in `x=` with two bits unused: a lax decoder takes four spellings of one signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    signature = sign(text())
    other = signature[:-2] + alphabet[alphabet.index(signature[-2]) + 1] + "="
    assert base64.b64decode(other) == base64.b64decode(signature)
    assert reason(text(), other) is Reason.NOT_BASE64


@pytest.mark.parametrize("raw", [b"", b"\0", b"\0" * 128, b"\0" * 127 + b"\1", b"\xff" * 128, b"\xff" * 700])
def test_it_rejects_trivial_signatures(raw: bytes) -> None:
    assert reason(text(), encode(raw)) is Reason.SIGNATURE


@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda raw: b"\0" + raw])
def test_it_rejects_a_signature_of_another_length(change: Any) -> None:
    assert reason(text(), encode(change(base64.b64decode(sign(text()))))) is Reason.SIGNATURE


def test_it_rejects_a_signature_of_another_length_than_the_keys() -> None:
    longer = key("aws", 2048).sign(text().encode(), padding.PKCS1v15(), hashes.SHA256())
    assert reason(text(), encode(longer)) is Reason.SIGNATURE


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA224(), hashes.SHA384(), hashes.SHA512()])
def test_it_rejects_other_hashes(algorithm: hashes.HashAlgorithm) -> None:
    signature = key("aws").sign(text().encode(), padding.PKCS1v15(), algorithm)
    assert reason(text(), encode(signature)) is Reason.SIGNATURE


def test_it_rejects_a_pss_signature() -> None:
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    signature = key("aws").sign(text().encode(), scheme, hashes.SHA256())
    assert reason(text(), encode(signature)) is Reason.SIGNATURE


def test_it_rejects_signatures_of_other_kinds_of_keys() -> None:
    holder = ec.generate_private_key(ec.SECP256R1())
    assert reason(text(), encode(holder.sign(text().encode(), ec.ECDSA(hashes.SHA256())))) is Reason.SIGNATURE
    assert reason(text(), encode(ANY_KEY.sign(text().encode()))) is Reason.SIGNATURE


def padded(*parts: bytes, size: int = 128) -> str:
    """A signature whose plaintext is exactly these parts: what only the key's owner can make, well formed or not."""
    numbers = key("aws").private_numbers()
    plain = int.from_bytes(b"".join(parts).ljust(size, b"\0"), "big")
    return encode(pow(plain, numbers.d, numbers.public_numbers.n).to_bytes(size, "big"))


DIGEST = hashlib.sha256(text().encode()).digest()


def test_it_knows_the_padding_that_the_next_test_breaks() -> None:
    assert verify(text(), padded(b"\0\1", b"\xff" * 74, b"\0", SHA256_INFO, DIGEST))


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((b"\0\1", b"\xff" * 8, b"\0", SHA256_INFO, DIGEST), id="garbage after a short padding"),
        pytest.param((b"\0\1", b"\xff" * 66, b"\0", SHA256_INFO, DIGEST, b"8 bytes."), id="trailing bytes"),
        pytest.param((b"\0\2", b"\xff" * 74, b"\0", SHA256_INFO, DIGEST), id="the padding of encryption"),
        pytest.param((b"\0\0", b"\xff" * 74, b"\0", SHA256_INFO, DIGEST), id="block type 0"),
        pytest.param((b"\0\1", b"\0" * 74, b"\0", SHA256_INFO, DIGEST), id="zeros for padding"),
        pytest.param((b"\0\1", b"\xff" * 73 + b"\xfe", b"\0", SHA256_INFO, DIGEST), id="one other byte"),
        pytest.param((b"\0\1", b"\xff" * 93, b"\0", DIGEST), id="no algorithm"),
        pytest.param(
            (b"\0\1", b"\xff" * 76, b"\0", bytes.fromhex("302f300b0609608648016503040201" + "0420"), DIGEST),
            id="no parameters",
        ),
        pytest.param(
            (b"\0\1", b"\xff" * 73, b"\0", bytes.fromhex("308131300d060960864801650304020105000420"), DIGEST),
            id="a long-form length",
        ),
        pytest.param((b"\0\1", b"\xff" * 74, b"\0", SHA256_INFO, DIGEST[:-1] + b"\0"), id="another digest"),
    ],
)
def test_it_rejects_tricks_with_the_padding(parts: tuple[bytes, ...]) -> None:
    assert reason(text(), padded(*parts)) is Reason.SIGNATURE


def test_it_rejects_a_signature_plus_the_modulus() -> None:
    modulus = key("aws").private_numbers().public_numbers.n
    raised = int.from_bytes(base64.b64decode(sign(text())), "big") + modulus
    assert reason(text(), encode(raised.to_bytes(129, "big"))) is Reason.SIGNATURE


# Certificates


def test_it_rejects_a_region_without_a_certificate() -> None:
    assert reason(text(), certificates={"us-east-1": certificate(key("aws"))}) is Reason.NO_CERTIFICATE


@pytest.mark.parametrize(
    "holder",
    [dsa.generate_private_key(2048), ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["DSA", "ECDSA", "Ed25519"],
)
def test_it_rejects_certificates_that_are_not_rsa(holder: Any, tmp_path: Path) -> None:
    assert reason(text(), certificates={REGION: certificate(holder)}) is Reason.UNUSABLE_CERTIFICATE
    (tmp_path / f"{REGION}.pem").write_bytes(pem(holder))
    with pytest.raises(SettingsError, match="not RSA"):
        instance_identity.load_certificates(tmp_path)


@pytest.mark.parametrize("weak", WEAK.values(), ids=WEAK)
def test_it_rejects_weak_keys(weak: str, tmp_path: Path) -> None:
    assert reason(text(), certificates={REGION: weak.encode()}) is Reason.UNUSABLE_CERTIFICATE
    (tmp_path / f"{REGION}.pem").write_text(weak)
    with pytest.raises(SettingsError, match=f"{REGION}.pem"):
        instance_identity.load_certificates(tmp_path)


@pytest.mark.parametrize("content", [b"", b"junk", pem(key("aws")) + pem(key("forger")), b"\xff\xfe"])
def test_it_rejects_a_file_that_is_not_one_certificate(content: bytes, tmp_path: Path) -> None:
    assert reason(text(), certificates={REGION: content}) is Reason.UNUSABLE_CERTIFICATE
    (tmp_path / f"{REGION}.pem").write_bytes(content)
    with pytest.raises(SettingsError, match=f"{REGION}.pem"):
        instance_identity.load_certificates(tmp_path)


@pytest.mark.parametrize("days", [-31, 1])
def test_it_rejects_a_certificate_outside_its_validity(days: int) -> None:
    begins = START + dt.timedelta(days=days)
    expired = {REGION: certificate(key("aws"), begins=begins, days=30)}
    assert reason(text(), certificates=expired) is Reason.EXPIRED_CERTIFICATE


def test_it_adds_an_operators_certificates_to_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / f"{REGION}.pem").write_bytes(pem(key("aws")))
    (tmp_path / "us-iso-east-1.pem").write_bytes(pem(key("aws")))
    (tmp_path / "README.md").write_text("not a certificate")
    found = instance_identity.load_certificates(tmp_path)
    assert set(found) == set(instance_identity.load_certificates()) | {"us-iso-east-1"}
    assert verify(text(), certificates=found).instance_id == INSTANCE


@pytest.mark.parametrize("name", ["frankfurt.pem", "EU-CENTRAL-1.pem", "eu-central-1.rsa.pem"])
def test_it_rejects_a_file_that_names_no_region(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pem(key("aws")))
    with pytest.raises(SettingsError, match=name):
        instance_identity.load_certificates(tmp_path)


def test_it_rejects_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        instance_identity.load_certificates(tmp_path / "nowhere")


def test_it_warns_at_the_start_of_a_region_that_can_not_work() -> None:
    instance_identity.check_certificate(REGION, trusted(), at=START)
    with pytest.raises(SettingsError, match=r"no_certificate.*us-moon-1\.pem"):
        instance_identity.check_certificate("us-moon-1", trusted(), at=START)


# The shipped certificates


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.pem")), ids=lambda file: file.stem)
def test_it_ships_rsa_certificates_of_aws(file: Path) -> None:
    """Each is signed by its own key, so that no byte of it can have been changed on the way."""
    found = x509.load_pem_x509_certificate(file.read_bytes())
    holder = found.public_key()
    assert isinstance(holder, rsa.RSAPublicKey)
    assert (holder.key_size, holder.public_numbers().e) == (1024, 65537)
    organization = found.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)[0].value
    assert organization == ("Amazon.com Inc." if file.stem == "ap-east-1" else "Amazon Web Services LLC")
    assert found.signature_hash_algorithm is not None
    holder.verify(found.signature, found.tbs_certificate_bytes, padding.PKCS1v15(), found.signature_hash_algorithm)
    instance_identity.check_certificate(file.stem, instance_identity.load_certificates(), at=START)


def test_it_ships_the_certificates_that_its_readme_lists() -> None:
    readme = (SHIPPED / "README.md").read_text()
    files = {
        file.stem: x509.load_pem_x509_certificate(file.read_bytes()).fingerprint(hashes.SHA256()).hex()
        for file in SHIPPED.glob("*.pem")
    }
    assert dict(re.findall(r"^\| ([a-z-]+-[0-9]) \| `([0-9a-f]{64})` \|", readme, re.MULTILINE)) == files


def test_it_uses_the_shipped_certificates_unless_told_otherwise() -> None:
    assert reason(text(), certificates=None) is Reason.SIGNATURE
    assert reason(text(), certificates=None, region="us-moon-1") is Reason.NO_CERTIFICATE


# What the caller learns


def test_it_tells_every_caller_the_same_words() -> None:
    refusals = [
        refusal(text(), sign(text(), "forger")),
        refusal(text(accountId="999999999999")),
        refusal(text(), at=START + dt.timedelta(days=1)),
        refusal(text(), certificates={}),
        refusal("x" * 5000),
    ]
    assert len({error.reason for error in refusals}) == 5
    assert {(error.detail, str(error), error.title) for error in refusals} == {
        (refusals[0].detail, refusals[0].detail, RefusedError.title)
    }
    assert all(isinstance(error, RefusedError) and not error.errors for error in refusals)


def test_it_tells_the_audit_log_only_what_aws_signed() -> None:
    foreign = text(accountId="999999999999")
    assert refusal(foreign, sign(foreign, "forger")).identity is None
    known = refusal(foreign).identity
    assert known is not None
    assert (known.account_id, known.instance_id) == ("999999999999", INSTANCE)


# Any change at all

CHANGES = st.tuples(st.integers(0, 10_000), st.sampled_from(["insert", "delete", "replace", "swap"]), st.characters())


def mutate(original: str, change: tuple[int, str, str]) -> str:
    at, kind, char = change[0] % len(original), change[1], change[2]
    if kind == "insert":
        return original[:at] + char + original[at:]
    if kind == "swap":
        return original[:at] + original[at + 1 : at + 2] + original[at : at + 1] + original[at + 2 :]
    return original[:at] + (char if kind == "replace" else "") + original[at + 1 :]


@given(st.lists(CHANGES, min_size=1, max_size=3))
@settings(max_examples=400, deadline=None)
def test_it_rejects_any_changed_document(changes: list[tuple[int, str, str]]) -> None:
    changed = functools.reduce(mutate, changes, text())
    if changed != text():
        assert reason(changed, sign(text())) in {Reason.SIGNATURE, Reason.NOT_UTF8}


@given(st.lists(CHANGES, min_size=1, max_size=3))
@settings(max_examples=400, deadline=None)
def test_it_rejects_any_changed_signature(changes: list[tuple[int, str, str]]) -> None:
    changed = functools.reduce(mutate, changes, sign(text()))
    if changed.replace("\n", "") != sign(text()).replace("\n", ""):
        assert reason(text(), changed) in {Reason.SIGNATURE, Reason.NOT_BASE64}


@given(st.integers(0, 1023))
@settings(max_examples=300, deadline=None)
def test_it_rejects_any_flipped_bit(bit: int) -> None:
    raw = int.from_bytes(base64.b64decode(sign(text())), "big") ^ (1 << bit)
    assert reason(text(), encode(raw.to_bytes(128, "big"))) is Reason.SIGNATURE


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
@settings(max_examples=300, deadline=None)
def test_it_answers_any_text_with_its_own_error(document: str, signature: str) -> None:
    assert isinstance(refusal(document, signature), InstanceIdentityError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda more: st.lists(more, max_size=3)
)


@given(st.sampled_from(sorted(FIELDS)), JSON)
@settings(max_examples=400, deadline=None)
def test_it_answers_any_signed_value_with_an_identity_or_its_own_error(name: str, value: Any) -> None:
    try:
        assert verify(text(**{name: value})).account_id == ACCOUNT
    except InstanceIdentityError as error:
        expected = {Reason.FIELDS, Reason.NOT_JSON, Reason.REGION, Reason.ACCOUNT}
        assert error.reason in expected  # noqa: PT017 - both may be
