"""`daypack keygen`, `daypack sign` and `daypack verify`: whose word a bundle is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daypack.cli import printing

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that `compile` made.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]


def keygen(
    key: Annotated[
        Path, typer.Argument(metavar="KEY", help="The file to make; the public key is KEY.pub beside it.")
    ],
    as_json: Json = False,
) -> None:
    """Make an Ed25519 key to sign bundles with: KEY, which stays with you, and KEY.pub, which goes out."""
    from daypack.runtime.signature import make_key

    public, path = make_key(key)
    row = {"key": str(key), "public_key": str(path), "signer": public.hex}
    printing.print_json(row) if as_json else printing.print_tree(row)


def sign(
    bundle: Bundle,
    key: Annotated[Path, typer.Option("--key", metavar="KEY", help="The private key that `keygen` made.")],
    as_json: Json = False,
) -> None:
    """Check every file of a bundle and sign it; an older signature is replaced."""
    from daypack.runtime.bundle import verify_manifest
    from daypack.runtime.signature import sign as sign_bundle

    files = verify_manifest(bundle)
    row = {"bundle": str(bundle), "signer": sign_bundle(bundle, key).hex, "files": len(files)}
    printing.print_json(row) if as_json else printing.print_tree(row)


def verify(
    bundle: Bundle,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", metavar="FILE", help="Insist on a signature by this key: KEY.pub."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every file of a bundle against its manifest, and the manifest's signature.

    Without --public-key a bundle may be unsigned, and a signature only says that whoever has that key signed.
    """
    from daypack.runtime.bundle import verify_manifest
    from daypack.runtime.signature import read_public_key, require_signature, signer_of

    if public_key is not None:
        require_signature(bundle, read_public_key(public_key))
    signer = signer_of(bundle)
    files = verify_manifest(bundle)
    row = {
        "bundle": str(bundle),
        "files": len(files),
        "signer": None if signer is None else signer.hex,
        "trusted": public_key is not None,
    }
    printing.print_json(row) if as_json else printing.print_tree(row)
