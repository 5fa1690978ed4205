"""Encryption of backups with age (https://age-encryption.org), as the commands `age` and `rage` read and write it."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyrage

from scheduler.domain.errors import Problem, Refused

_BEGINNINGS = (b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----")


def parse_recipient(text: str) -> Any:
    """Return the public key that `text` is: `age1…`, or an SSH key. Raises Refused, which never repeats the text."""
    if any(word in text.upper() for word in ("SECRET-KEY-", "PRIVATE KEY")):
        raise Refused("is a secret key, which must not be here; give the public one, age1…")
    kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
    try:
        return kind.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise Refused("is not a public key of age; copy the line that begins with age1 or ssh-") from None


def read_identities(file: Path) -> list[Any]:
    """Return the secret keys in a file that `age-keygen` or `ssh-keygen` wrote. Raises Problem."""
    try:
        data = file.read_bytes()
        if data.startswith(b"-----BEGIN OPENSSH"):
            return [pyrage.ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode().splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        identities = [pyrage.x25519.Identity.from_str(key) for key in keys]
    except OSError as error:
        raise Problem(f"the key file {file} cannot be read: {error.strerror}; check its name") from None
    except (UnicodeDecodeError, pyrage.IdentityError):
        identities = []
    if not identities:
        raise Problem(f"{file} contains no secret key of age; name the file that `age-keygen` wrote")
    return identities


def is_encrypted(file: Path) -> bool:
    """Return whether a file was encrypted with age. Raises OSError."""
    with file.open("rb") as reader:
        return reader.read(max(map(len, _BEGINNINGS))).startswith(_BEGINNINGS)


def encrypt(source: IO[bytes], target: IO[bytes], recipient: Any) -> None:
    """Encrypt everything in `source`; memory use does not depend on its size. Blocks. Raises OSError."""
    try:
        pyrage.encrypt_io(source, target, [recipient])
    except pyrage.EncryptError as error:
        # It wraps what the target raised, for example that the disk is full.
        raise OSError(0, f"encryption failed ({error})") from None


def decrypt(file: Path, target: Path, identities: Sequence[Any]) -> None:
    """Decrypt `file` into the existing file `target`. Blocks. Raises Problem or OSError."""
    with file.open("rb") as source, target.open("wb") as plain:
        try:
            pyrage.decrypt_io(source, plain, identities)
        except (pyrage.DecryptError, OSError) as error:
            if "matching keys" in str(error):
                raise Problem(f"{file} was encrypted for another key than that of --identity") from None
            # An error with a number comes from the disk, one without from age.
            if getattr(error, "errno", None):
                raise
            raise Problem(f"{file} is damaged: it cannot be decrypted; choose another") from None


@contextmanager
def decrypted(file: Path, identity: Path | None, *, folder: Path) -> Iterator[Path]:
    """Yield `file` itself, or, if it is encrypted, a decrypted copy in the new folder `folder`, which is deleted at the
    end. What a killed process left in `folder` is deleted first, so nobody else may use it.

    `identity` is the file with the secret key. Blocks. Raises Problem or OSError.
    """
    if not file.is_file():
        raise Problem(f"there is no backup {file}; check the name")
    if not is_encrypted(file):
        yield file
        return
    if identity is None:
        raise Problem(f"{file} is encrypted; name the file with the secret key: --identity KEYFILE")
    identities = read_identities(identity)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)
    try:
        plain = folder / file.name.removesuffix(".age")
        decrypt(file, plain, identities)
        yield plain
    finally:
        shutil.rmtree(folder, ignore_errors=True)
