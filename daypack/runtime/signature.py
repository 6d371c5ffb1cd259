"""Ed25519 signatures of bundles: whose word a MANIFEST is.

`SIGNATURE`, beside MANIFEST, holds the signature of MANIFEST's bytes and the public key it was made for
(FORMAT.md). MANIFEST has the hash of every other file, so a signature is one of the whole bundle. Keys are
PEM files as OpenSSL writes them (PKCS #8, SubjectPublicKeyInfo).

Only a key from elsewhere makes a signature worth something: what SIGNATURE says of its own key is for
messages.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from daypack.errors import BundleError, SpecError
from daypack.runtime.bundle import MANIFEST, SIGNATURE, read_plain

FIRST_LINE = "daypack-signature 1"

_TEXT = re.compile(rf"{FIRST_LINE}\ned25519 ([0-9a-f]{{64}}) ([0-9a-f]{{128}})\n")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who signs: an Ed25519 public key of 32 bytes."""

    data: bytes

    @property
    def hex(self) -> str:
        """64 digits: how the engine takes it and how messages show it."""
        return self.data.hex()


def make_key(private: Path) -> tuple[PublicKey, Path]:
    """Write a new private key (mode 0600) and its public key beside it, `NAME.pub`; neither may exist."""
    key = Ed25519PrivateKey.generate()
    public = private.with_name(private.name + ".pub")
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise SpecError(f"{path}: expected no such file; keys are never overwritten, give another name")
    _create(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        _create(public, pem, 0o644)
    except SpecError:
        private.unlink()
        raise
    return _public_of(key.public_key()), public


def read_public_key(path: Path) -> PublicKey:
    """The Ed25519 public key of a PEM file."""
    try:
        key = load_pem_public_key(_read_key(path))
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SpecError(
            f"{path}: expected an Ed25519 public key in PEM form, as `daypack keygen` writes, "
            "found another file"
        )
    return _public_of(key)


def sign(bundle: Path, key_file: Path) -> PublicKey:
    """Write the SIGNATURE of a bundle's MANIFEST, in place of an older one. Returns the signer's public key.

    What the manifest says is signed; whether it is so is for the caller to check before (`verify_manifest`).
    """
    key = _read_private_key(key_file)
    public = _public_of(key.public_key())
    signature = key.sign(read_plain(bundle / MANIFEST))
    text = f"{FIRST_LINE}\ned25519 {public.hex} {signature.hex()}\n"
    partial = Path(tempfile.mkdtemp(dir=bundle.parent, prefix=f".{bundle.name}.signing-")) / SIGNATURE
    try:
        _create(partial, text.encode(), 0o644)
        partial.replace(bundle / SIGNATURE)
    finally:
        partial.unlink(missing_ok=True)
        partial.parent.rmdir()
    return public


def signer_of(bundle: Path) -> PublicKey | None:
    """The key that SIGNATURE names, after checking the signature with it; None for an unsigned bundle."""
    path = bundle / SIGNATURE
    if not path.exists() and not path.is_symlink():
        return None
    match = _TEXT.fullmatch(read_plain(path).decode("ascii", errors="replace"))
    if match is None:
        raise BundleError(
            f"{path}: expected {FIRST_LINE!r} and a line 'ed25519 <public key> <signature>', "
            "found other bytes; sign the bundle again"
        )
    signer = PublicKey(bytes.fromhex(match[1]))
    try:
        verifier = Ed25519PublicKey.from_public_bytes(signer.data)
        verifier.verify(bytes.fromhex(match[2]), read_plain(bundle / MANIFEST))
    except InvalidSignature:
        raise BundleError(
            f"{path}: expected the signature of this MANIFEST by the key {signer.hex}, found another: "
            "one of the two files was changed after signing; copy the bundle again"
        ) from None
    return signer


def require_signature(bundle: Path, key: PublicKey) -> None:
    """Insist that MANIFEST is signed by this key."""
    found = signer_of(bundle)
    if found is None:
        raise BundleError(
            f"{bundle / SIGNATURE}: expected a signature of the bundle by the key {key.hex}, found none; "
            "get the bundle from who holds that key, or sign it with `daypack sign`"
        )
    if found != key:
        raise BundleError(
            f"{bundle / SIGNATURE}: expected a signature by the key {key.hex}, found one by {found.hex}; "
            "get the bundle from who holds the first, or require the other"
        )


def required_signer(bundle: Path, public_key: Path | None) -> PublicKey | None:
    """The key of a file that must have signed the bundle, checked; None where no file is given."""
    if public_key is None:
        return None
    key = read_public_key(public_key)
    require_signature(bundle, key)
    return key


def _public_of(key: Ed25519PublicKey) -> PublicKey:
    return PublicKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _read_private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(_read_key(path), password=None)
    except TypeError:
        raise SpecError(
            f"{path}: expected a private key without a password, found an encrypted one; "
            "`openssl pkey` writes it without"
        ) from None
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SpecError(
            f"{path}: expected an Ed25519 private key in PEM form, as `daypack keygen` writes, "
            "found another file"
        )
    return key


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: expected the file of a key, found: {error.strerror}") from error


def _create(path: Path, data: bytes, mode: int) -> None:
    """A new file, whole or not at all; O_EXCL also refuses a link that someone put there."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise SpecError(f"{path}: cannot create it: {error.strerror}") from error
    with os.fdopen(file, "wb") as stream:
        stream.write(data)
