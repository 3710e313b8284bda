"""Unpack pibench's Caffe or a job on a board, from a file or while it arrives over a connection.

    python3 unpack.py FOLDER KEY SHA256 [ARCHIVE]

Leaves it as FOLDER/KEY with a file `complete` in it, or leaves nothing. The
archive is a tar, compressed or not; `-` for SHA256 leaves it unchecked. Reads
standard input where no archive is named. One self-contained file in Python 3.5, as
check.py.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile

PARTIAL = ".partial-"
LOCK = ".lock"
COMPLETE = "complete"
UNCHECKED = "-"


class UnpackError(Exception):
    """Why it could not be unpacked, in one line."""


class Hashing(object):
    """A stream that is read to its end, and the SHA-256 of the bytes read."""

    def __init__(self, stream):
        self.stream = stream
        self.digest = hashlib.sha256()

    def read(self, size=-1):
        chunk = self.stream.read(size)
        self.digest.update(chunk)
        return chunk


def unpack(stream, folder, key, sha256):
    """Unpack a compressed tar from `stream` into folder/key, whole or not at all."""
    target = os.path.join(folder, key)
    os.makedirs(folder, exist_ok=True)
    sweep(folder)
    # The lock is made before the folder, so that nobody takes that for a leftover.
    lock, lock_path = tempfile.mkstemp(prefix=PARTIAL, suffix=LOCK, dir=folder)
    partial = lock_path[: -len(LOCK)]
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.mkdir(partial)
        hashing = Hashing(stream)
        try:
            with tarfile.open(fileobj=hashing, mode="r|*") as archive:
                for member in archive:
                    extract(archive, member, partial)
            while hashing.read(1 << 20):
                pass
        except (tarfile.TarError, EOFError) as error:
            raise UnpackError("the archive is incomplete or damaged: {}".format(error)) from None
        if sha256 not in (UNCHECKED, hashing.digest.hexdigest()):
            raise UnpackError("the archive's SHA-256 does not match")
        # Write it to the card before anything is measured: writing slows the machine down.
        os.sync()
        with open(os.path.join(partial, COMPLETE), "w") as handle:
            handle.write(sha256 + "\n")
        os.chmod(partial, 0o755)
        try:
            os.rename(partial, target)
        except OSError:
            # Another run was faster, or the existing folder was incomplete.
            if not os.path.exists(os.path.join(target, COMPLETE)):
                shutil.rmtree(target, ignore_errors=True)
                os.rename(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.unlink(lock_path)
        os.close(lock)


def extract(archive, member, top):
    """Place one file, folder or link inside `top` and nowhere else."""
    path = inside(top, member.name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if member.isdir():
        os.makedirs(path, exist_ok=True)
    elif member.issym():
        inside(top, os.path.join(os.path.dirname(member.name), member.linkname))
        os.symlink(member.linkname, path)
    elif member.isreg():
        # A new file only: the existing entry may be a link.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(path, flags, 0o755 if member.mode & 0o100 else 0o644), "wb") as to:
            shutil.copyfileobj(archive.extractfile(member), to, 1 << 20)
    else:
        raise UnpackError("{} is neither a file nor a folder nor a link".format(member.name))


def inside(top, name):
    """Return the path of a name below `top`; raises UnpackError for a name that leads out."""
    path = os.path.normpath(os.path.join(top, name))
    if os.path.isabs(name) or not path.startswith(os.path.join(top, "")):
        raise UnpackError("the archive names a place outside its folder: {}".format(name))
    # A folder in the path that is a link could lead anywhere; pibench's archives have none.
    folder = os.path.dirname(path)
    while len(folder) > len(top):
        if os.path.islink(folder):
            raise UnpackError("the archive goes through a link: {}".format(name))
        folder = os.path.dirname(folder)
    return path


def sweep(folder):
    """Remove what was left half unpacked by a machine that went down."""
    for name in os.listdir(folder):
        if not name.startswith(PARTIAL) or name.endswith(LOCK):
            continue
        path = os.path.join(folder, name)
        try:
            with open(path + LOCK, "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
                os.unlink(path + LOCK)
        except (IOError, OSError):
            continue


def main():
    folder, key, sha256 = sys.argv[1:4]
    folder = os.path.expanduser(folder)
    try:
        if len(sys.argv) > 4:
            with open(sys.argv[4], "rb") as stream:
                unpack(stream, folder, key, sha256)
        else:
            unpack(sys.stdin.buffer, folder, key, sha256)
    except (UnpackError, IOError, OSError) as error:
        words = getattr(error, "strerror", None) or str(error)
        sys.stderr.write("{}: {}\n".format(getattr(error, "filename", None) or folder, words))
        sys.exit(1)


if __name__ == "__main__":
    main()
