"""Keys, signatures, and who refuses what: the host and the engine say the same of every bundle."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from daypack.cli import main
from daypack.errors import BundleError, ExitCode, SpecError
from daypack.runtime import signature
from daypack.runtime.bundle import verify_manifest, write_manifest
from daypack.runtime.launch import EngineArguments, Local
from daypack.runtime.signature import PublicKey, make_key, read_public_key, require_signature, signer_of


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "key")
    return tmp_path / "key"


def public(key: Path) -> PublicKey:
    return read_public_key(key.with_name(key.name + ".pub"))


def test_keys_are_those_of_openssl_and_the_private_one_is_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        made, path = make_key(tmp_path / "key")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert path == tmp_path / "key.pub" and read_public_key(path) == made and len(made.data) == 32
    assert (tmp_path / "key").read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert path.read_text().startswith("-----BEGIN PUBLIC KEY-----\n")
    if shutil.which("openssl"):
        words = ["openssl", "pkey", "-in", str(tmp_path / "key"), "-pubout"]
        assert subprocess.run(words, capture_output=True, check=True).stdout == path.read_bytes()


@pytest.mark.parametrize("there", ["key", "key.pub"])
def test_a_key_is_never_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpecError, match=f"{there}: expected no such file; keys are never overwritten"):
        make_key(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_a_folder_for_keys_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="nowhere/key: cannot create it: No such file or directory"):
        make_key(tmp_path / "nowhere" / "key")


def write_key(path: Path, key: Any, encryption: Any) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return path


def test_files_that_are_no_keys(case: Any, key: Path, tmp_path: Path) -> None:
    encrypted = write_key(tmp_path / "a", Ed25519PrivateKey.generate(), BestAvailableEncryption(b"word"))
    with pytest.raises(SpecError, match="a: expected a private key without a password"):
        signature.sign(case.bundle, encrypted)
    rsa = write_key(tmp_path / "b", generate_private_key(65537, 2048), NoEncryption())
    for path in (rsa, key.with_name("key.pub")):
        with pytest.raises(SpecError, match=f"{path.name}: expected an Ed25519 private key in PEM form"):
            signature.sign(case.bundle, path)
    for path in (rsa, key):
        with pytest.raises(SpecError, match=f"{path.name}: expected an Ed25519 public key in PEM form"):
            read_public_key(path)
    with pytest.raises(SpecError, match="nothing: expected the file of a key, found: No such file"):
        read_public_key(tmp_path / "nothing")
    assert not (case.bundle / "SIGNATURE").exists()


def test_a_signed_bundle_runs_where_its_signature_is_required(case: Any, key: Path) -> None:
    assert signer_of(case.bundle) is None
    assert signature.sign(case.bundle, key) == public(key) == signer_of(case.bundle)
    verify_manifest(case.bundle)
    require_signature(case.bundle, public(key))
    run = case.run("--steps", "1", "--require-signature", public(key).hex)
    assert run.status == 0 and len(run.steps) == 1
    assert case.run("--steps", "1").status == 0
    arguments = EngineArguments(steps=1, signer=public(key))
    assert list(Local().run(case.bundle, arguments))[-1]["event"] == "end"
    assert sorted(path.name for path in case.bundle.parent.iterdir()) == [
        "example",
        "example.state",
        "key",
        "key.pub",
    ]


def test_emulated_arm_checks_signatures_too(make_case: Callable[..., Any], key: Path) -> None:
    case = make_case(arch="aarch64", name="arm")
    signature.sign(case.bundle, key)
    assert case.run("--verify-only", "--require-signature", public(key).hex).status == 0
    assert case.run("--verify-only", "--require-signature", "11" * 32).status == 4


def other_signer(case: Any, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    signature.sign(case.bundle, tmp_path / "other")


def edit(case: Any, change: Callable[[bytes], bytes]) -> None:
    path = case.bundle / "SIGNATURE"
    path.write_bytes(change(path.read_bytes()))


def flip(data: bytes, digit: int) -> bytes:
    return data[:digit] + (b"0" if data[digit : digit + 1] != b"0" else b"1") + data[digit + 1 :]


def listed_anew(case: Any) -> None:
    """Every hash is right again, only the signature is of another manifest."""
    case.set_file("bundle.json", b"{}\n")


OTHER_BYTES = (
    "expected 'daypack-signature 1' and a line 'ed25519 <public key> <signature>', found other bytes"
)
CHANGED = "expected the signature of this MANIFEST by the key {key}, found another: one of the two files was"
# name -> what is done to a signed bundle, what is said of it
REFUSED: dict[str, tuple[Callable[[Any, Path], Any], str]] = {
    "unsigned": (
        lambda case, _: (case.bundle / "SIGNATURE").unlink(),
        "expected a signature of the bundle by the key {key}, found none; get the bundle from who holds",
    ),
    "signed by another": (other_signer, "expected a signature by the key {key}, found one by"),
    "edited and listed anew": (lambda case, _: listed_anew(case), CHANGED),
    "another R": (lambda case, _: edit(case, lambda data: flip(data, 100)), CHANGED),
    "another S": (lambda case, _: edit(case, lambda data: flip(data, 170)), CHANGED),
    "an S that is too large": (lambda case, _: edit(case, lambda data: data[:-3] + b"ff\n"), CHANGED),
    "empty": (lambda case, _: edit(case, lambda _: b""), OTHER_BYTES),
    "another version": (lambda case, _: edit(case, lambda data: data.replace(b" 1\n", b" 2\n")), OTHER_BYTES),
    "another algorithm": (lambda case, _: edit(case, lambda data: data.replace(b"ed2", b"ed4")), OTHER_BYTES),
    "upper case": (lambda case, _: edit(case, lambda data: data[:28] + data[28:].upper()), OTHER_BYTES),
    "one more byte": (lambda case, _: edit(case, lambda data: data + b"\n"), OTHER_BYTES),
    "no newline": (lambda case, _: edit(case, lambda data: data[:-1] + b" "), OTHER_BYTES),
    "a tab": (lambda case, _: edit(case, lambda data: data[:92] + b"\t" + data[93:]), OTHER_BYTES),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_where_a_signature_is_required(
    case: Any, key: Path, tmp_path: Path, name: str
) -> None:
    signature.sign(case.bundle, key)
    damage, message = REFUSED[name]
    damage(case, tmp_path)
    message = message.format(key=public(key).hex)
    run = case.run("--steps", "1", "--require-signature", public(key).hex)
    assert run.status == 4 and run.message.startswith(f"SIGNATURE: {message}"), run
    with pytest.raises(BundleError) as caught:
        require_signature(case.bundle, public(key))
    assert caught.value.code == ExitCode.BAD_BUNDLE
    assert caught.value.message.startswith(f"{case.bundle}/SIGNATURE: {message}"), caught.value


def test_a_file_that_was_edited_after_signing(case: Any, key: Path) -> None:
    signature.sign(case.bundle, key)
    (case.bundle / "bundle.json").write_text('{"made_by": "tEsts"}\n')
    run = case.run("--require-signature", public(key).hex)
    assert run.status == 4 and run.message.startswith("bundle.json: expected SHA-256")
    with pytest.raises(BundleError, match=r"bundle\.json: expected SHA-256"):
        verify_manifest(case.bundle)


def test_a_launcher_never_starts_the_engine_of_another_signer(
    case: Any, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_signer(case, tmp_path)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("the engine was started"))
    with pytest.raises(BundleError, match="expected a signature by the key"):
        list(Local().run(case.bundle, EngineArguments(steps=1, signer=public(key))))


@pytest.mark.parametrize("name", ["SIGNATURE", "MANIFEST", "weights.bin"])
def test_links_and_pipes_are_refused(case: Any, key: Path, tmp_path: Path, name: str) -> None:
    signature.sign(case.bundle, key)
    path = case.bundle / name
    aside = tmp_path / "aside"
    path.rename(aside)
    path.symlink_to(aside)
    required = ("--require-signature", public(key).hex)
    run = case.run(*required)
    assert run.status == 4 and run.message == (
        f"{path}: expected a file, found a link; copy the bundle with what its links point to"
    )
    check = (require_signature, public(key)) if name == "SIGNATURE" else (verify_manifest,)
    with pytest.raises(BundleError, match=f"{name}: expected a"):
        check[0](case.bundle, *check[1:])
    path.unlink()
    os.mkfifo(path)
    run = case.run(*required)
    assert run.status == 4 and run.message.startswith(f"{path}: expected a readable file, found: ")
    if name == "weights.bin":
        with pytest.raises(BundleError, match="expected a file, found something else"):
            verify_manifest(case.bundle)


def test_the_commands(case: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*words: object) -> tuple[int, Any]:
        code = main([*map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    key, pub = tmp_path / "k", tmp_path / "k.pub"
    code, made = command("keygen", key)
    assert code == 0 and made == {"key": str(key), "public_key": str(pub), "signer": public(key).hex}
    checked = {"bundle": str(case.bundle), "files": 6, "signer": None, "trusted": False}
    assert command("verify", case.bundle) == (0, checked)
    code, refused = command("verify", case.bundle, "--public-key", pub)
    assert code == 4 and "found none" in refused["message"]
    code, signed = command("sign", case.bundle, "--key", key)
    assert code == 0 and signed == {"bundle": str(case.bundle), "signer": made["signer"], "files": 6}
    checked["signer"] = made["signer"]
    assert command("verify", case.bundle) == (0, checked)
    assert command("verify", case.bundle, "--public-key", pub) == (0, checked | {"trusted": True})
    code, last = command("run", case.bundle, "--steps", 1, "--public-key", pub)
    assert code == 0 and last["step"] == 1
    listed_anew(case)
    for words in (("verify",), ("run", "--steps", 1, "--public-key", pub)):
        code, refused = command(words[0], case.bundle, *words[1:])
        assert code == 4 and "was changed after signing" in refused["message"]
    (case.bundle / "weights.bin").write_bytes(bytes(16448))
    code, refused = command("sign", case.bundle, "--key", key)
    assert code == 4 and "weights.bin: expected SHA-256" in refused["message"]


def test_a_manifest_cannot_list_the_signature(case: Any, key: Path) -> None:
    signature.sign(case.bundle, key)
    manifest = case.bundle / "MANIFEST"
    entry = manifest.read_text().splitlines()[1].split()
    (case.bundle / "SIGNATURE").write_bytes((case.bundle / "bundle.json").read_bytes())
    text = manifest.read_text().replace(
        "state.safetensors\n", f"state.safetensors\n{' '.join(entry[:2])} z\n"
    )
    manifest.write_text(text.replace(" z\n", " SIGNATURE\n"))
    assert case.run("--verify-only").message.startswith("MANIFEST: line ")
    with pytest.raises(BundleError, match="expected distinct names in ascending order"):
        verify_manifest(case.bundle)
    write_manifest(case.bundle)
    assert " SIGNATURE\n" not in manifest.read_text()
