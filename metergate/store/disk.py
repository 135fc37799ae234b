"""What kind of disk a data folder is on. Locks and mapped files are only kept on one of this machine."""

import os
import shutil
from pathlib import Path
from typing import Final

from metergate.ports import Danger

NETWORK: Final = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
    }
    | {"smb2", "smb3", "smbfs", "vboxsf"}
)
MEMORY: Final = frozenset({"ramfs", "tmpfs"})
LEAST_BYTES: Final = 256 * 1024 * 1024
"""Room for some journal segments and a checkpoint."""


def of_folder(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> list[Danger]:
    """What endangers journals and a ledger because of where they are."""
    kind = file_system(folder, mounts)
    if kind in NETWORK:
        told = (
            f"the folder {folder} is on a network file system ({kind}), where locks and mapped files are not "
            "reliable; choose a local disk (METERGATE_DATA, METERGATE_JOURNAL, METERGATE_LEDGER)"
        )
        return [Danger(told, strict=True)]
    if kind in MEMORY:
        told = (
            f"the folder {folder} is in memory ({kind}) and gone with the machine; choose a disk "
            "(METERGATE_DATA, METERGATE_JOURNAL, METERGATE_LEDGER)"
        )
        return [Danger(told, strict=True, told_by_doctor=True)]
    return []


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that a folder is on; empty where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    place = os.path.realpath(folder)
    best, kind = "", ""
    for fields in (line.split() for line in lines):
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
