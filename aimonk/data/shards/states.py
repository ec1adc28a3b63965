"""The state of a shard: a string that changes with its content."""

import hashlib
import os

from aimonk.data.shards.addresses import is_remote, reaching, split_address

# properties of a remote file that change with its content, by the names of different file systems
PROPERTIES = ("size", "etag", "mtime", "last_modified", "lastmodified", "modified", "created", "generation")
PROPERTIES += ("md5hash", "content_md5", "versionid", "version")


def find_state(address: str) -> str:
    """Size, times and inode of a local shard, or the properties that the server of a remote one reports.

    Raises:
        OSError: The shard does not exist.
    """
    if not is_remote(address):
        return describe_status(os.stat(address))
    with reaching(address):
        system, path = split_address(address)
        info = {str(key).lower().replace("-", "_"): value for key, value in system.info(path).items()}
    return " ".join(f"{key}={info[key]}" for key in PROPERTIES if key in info)


def describe_status(status: os.stat_result) -> str:
    """The state of a local shard."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def digest(text: str) -> str:
    """A short name that identifies a string."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:20]
