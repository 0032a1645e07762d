"""EC2's instance identity document: AWS's own word on which instance asks to enrol.

The metadata service hands a document (JSON) and a signature to every process on the instance. `verify` believes them
when the signature holds under the certificate of the *configured* region, and the document tells of an expected
account and region and of an instance that has just started. Nothing in the message chooses the key.

What it can't tell: whether the instance itself sent the document. Whoever read it can replay it while it is fresh,
so the registry accepts each account + region + instance once.

Sources: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-iid.html (the signature is RSA PKCS#1 v1.5 with
SHA-256 over the document's bytes, in base64) and aws_certificates/README.md (the certificates).
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import functools
import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from inventory_service.errors import RefusedError, SettingsError

FRESH_SECONDS = 300
LEEWAY_SECONDS = 60
"""How far in the future `pendingTime` may lie: the service's clock may run behind AWS's."""
LONGEST_DOCUMENT = 4096
LONGEST_SIGNATURE = 1024

_SHIPPED = Path(__file__).with_name("aws_certificates")
_SMALLEST_KEY, _LARGEST_KEY, _SMALLEST_EXPONENT = 1024, 4096, 65537
_REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2}")
_FIELDS = {
    "accountId": re.compile(r"[0-9]{12}"),
    "region": _REGION,
    "instanceId": re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})"),
    "availabilityZone": re.compile(r"[a-z0-9-]{1,64}"),
    "instanceType": re.compile(r"[a-z0-9][a-z0-9.-]{0,63}"),
    "imageId": re.compile(r"ami-[0-9a-f]{8,17}"),
    "privateIp": re.compile(r"[0-9a-fA-F.:]{2,45}"),
    "pendingTime": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"),
}

Certificates = Mapping[str, bytes | x509.Certificate]
"""By region: a certificate, or the PEM text of exactly one."""


class Reason(enum.StrEnum):
    """Why an identity was refused: for the audit log, never for the caller."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_BASE64 = "not_base64"
    NO_CERTIFICATE = "no_certificate"
    UNUSABLE_CERTIFICATE = "unusable_certificate"
    EXPIRED_CERTIFICATE = "expired_certificate"
    SIGNATURE = "signature"
    NOT_JSON = "not_json"
    FIELDS = "fields"
    REGION = "region"
    ACCOUNT = "account"
    STALE = "stale"
    FUTURE = "future"


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceIdentity:
    """What AWS vouches for. `account_id`, `region` and `instance_id` together name one instance for all time."""

    account_id: str
    region: str
    instance_id: str
    private_ip: str | None
    availability_zone: str
    instance_type: str
    image_id: str | None
    pending_at: dt.datetime


class InstanceIdentityError(RefusedError):
    """The identity was refused, in the words of every refusal: a forger learns nothing from them.

    `identity` is what the document said, once its signature held; None before that,
    so that nothing unauthenticated is written down as if AWS had said it.
    """

    def __init__(self, reason: Reason, identity: InstanceIdentity | None = None) -> None:
        super().__init__(reason)
        self.identity = identity


def verify(
    document: str,
    signature: str,
    *,
    region: str,
    account_ids: Collection[str],
    at: dt.datetime,
    certificates: Certificates | None = None,
    fresh_seconds: float = FRESH_SECONDS,
    known_running: Collection[str] = (),
) -> InstanceIdentity:
    """The identity that AWS signed, or InstanceIdentityError.

    `region` and `account_ids` come from the settings; `certificates` None means the shipped ones. `at` is aware.
    `known_running`: ids of instances of which EC2's API said just now that they run; that stands in for freshness.
    Nothing is parsed before the signature has been found to hold.
    """
    data = _document_bytes(document)
    key = _key_for(region, _shipped_certificates() if certificates is None else certificates, at=at)
    _check_signature(key, _signature_bytes(signature), data)
    identity = _read(_parse(document))
    _check_origin(identity, region=region, account_ids=account_ids)
    _check_pending(identity, at=at, oldest_seconds=None if identity.instance_id in known_running else fresh_seconds)
    return identity


def load_certificates(folder: Path | None = None) -> dict[str, x509.Certificate]:
    """The shipped certificates by region; `<region>.pem` in an operator's folder adds one or replaces a shipped one.

    Raises SettingsError when the folder or a file in it is not usable.
    """
    return {**_shipped_certificates(), **(_read_folder(folder) if folder else {})}


def check_certificate(region: str, certificates: Certificates, *, at: dt.datetime) -> None:
    """Raise SettingsError when no identity of this region could be accepted: for the service's start and `doctor`."""
    try:
        _key_for(region, certificates, at=at)
    except InstanceIdentityError as error:
        raise SettingsError(
            f"EC2 identities of the region {region!r} can't be verified ({error.reason}). "
            f"Put AWS's RSA certificate as {region}.pem into the folder CALLBOARD_EC2_CERTIFICATES."
        ) from error


@functools.cache
def _shipped_certificates() -> Mapping[str, x509.Certificate]:
    return _read_folder(_SHIPPED)


def _read_folder(folder: Path) -> dict[str, x509.Certificate]:
    if not folder.is_dir():
        raise SettingsError(f"The folder {folder} with EC2 certificates does not exist.")
    return {file.stem: _read_file(file) for file in sorted(folder.glob("*.pem"))}


def _read_file(file: Path) -> x509.Certificate:
    if not _REGION.fullmatch(file.stem):
        raise SettingsError(f"The EC2 certificate {file} can't be used: its name is not <region>.pem.")
    try:
        certificate = _parse_certificate(file.read_bytes())
        _public_key(certificate)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"The EC2 certificate {file} can't be used: {error}.") from error
    return certificate


def _parse_certificate(data: bytes) -> x509.Certificate:
    found = x509.load_pem_x509_certificates(data)
    if len(found) != 1:
        raise ValueError(f"it holds {len(found)} certificates instead of one")
    return found[0]


def _public_key(certificate: x509.Certificate) -> rsa.RSAPublicKey:
    """The certificate's key. AWS signs with RSA-1024 in every region known; nothing weaker is accepted."""
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("its key is not RSA; take the one AWS calls RSA")  # noqa: TRY004 - content, not a Python type
    if not _SMALLEST_KEY <= key.key_size <= _LARGEST_KEY or key.public_numbers().e < _SMALLEST_EXPONENT:
        raise ValueError("its RSA key is too weak or too large")
    return key


def _key_for(region: str, certificates: Certificates, *, at: dt.datetime) -> rsa.RSAPublicKey:
    if region not in certificates:
        raise InstanceIdentityError(Reason.NO_CERTIFICATE)
    given = certificates[region]
    try:
        certificate = _parse_certificate(given) if isinstance(given, bytes) else given
        key = _public_key(certificate)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InstanceIdentityError(Reason.UNUSABLE_CERTIFICATE) from error
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise InstanceIdentityError(Reason.EXPIRED_CERTIFICATE)
    return key


def _document_bytes(document: str) -> bytes:
    if len(document) > LONGEST_DOCUMENT:
        raise InstanceIdentityError(Reason.TOO_LARGE)
    try:
        return document.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InstanceIdentityError(Reason.NOT_UTF8) from error


def _signature_bytes(signature: str) -> bytes:
    """The signature out of base64, which AWS breaks into lines. Only its one canonical spelling is accepted."""
    if len(signature) > LONGEST_SIGNATURE:
        raise InstanceIdentityError(Reason.TOO_LARGE)
    text = signature.replace("\n", "")
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InstanceIdentityError(Reason.NOT_BASE64) from error
    if base64.b64encode(decoded).decode() != text:
        raise InstanceIdentityError(Reason.NOT_BASE64)
    return decoded


def _check_signature(key: rsa.RSAPublicKey, signature: bytes, data: bytes) -> None:
    try:
        key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise InstanceIdentityError(Reason.SIGNATURE) from error


def _parse(document: str) -> dict[str, Any]:
    if not (document.startswith("{") and document.endswith("}")):
        raise InstanceIdentityError(Reason.NOT_JSON)
    try:
        found: dict[str, Any] = json.loads(document, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InstanceIdentityError(Reason.NOT_JSON) from error
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object holds the same key twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read(found: dict[str, Any]) -> InstanceIdentity:
    try:
        return InstanceIdentity(
            account_id=_field(found, "accountId"),
            region=_field(found, "region"),
            instance_id=_field(found, "instanceId"),
            private_ip=_address(found),
            availability_zone=_field(found, "availabilityZone"),
            instance_type=_field(found, "instanceType"),
            image_id=None if found.get("imageId") is None else _field(found, "imageId"),
            pending_at=dt.datetime.fromisoformat(_field(found, "pendingTime")),
        )
    except ValueError as error:
        raise InstanceIdentityError(Reason.FIELDS) from error


def _field(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not _FIELDS[name].fullmatch(value):
        raise ValueError(f"{name} is missing or of another form")
    return value


def _address(found: dict[str, Any]) -> str | None:
    """The primary private address in its canonical spelling; None where AWS gives none."""
    if found.get("privateIp") is None:
        return None
    return str(ipaddress.ip_address(_field(found, "privateIp")))


def _check_origin(identity: InstanceIdentity, *, region: str, account_ids: Collection[str]) -> None:
    """AWS signs for every customer, and for many regions with one key: only these fields tell whose instance it is."""
    if identity.region != region or not identity.availability_zone.startswith(region):
        raise InstanceIdentityError(Reason.REGION, identity)
    if identity.account_id not in frozenset(account_ids):
        raise InstanceIdentityError(Reason.ACCOUNT, identity)


def _check_pending(identity: InstanceIdentity, *, at: dt.datetime, oldest_seconds: float | None) -> None:
    age = (at - identity.pending_at).total_seconds()
    if age < -LEEWAY_SECONDS:
        raise InstanceIdentityError(Reason.FUTURE, identity)
    if oldest_seconds is not None and age > oldest_seconds:
        raise InstanceIdentityError(Reason.STALE, identity)
