"""File systems for fsspec that behave as those far away do: an object store, and a share on the network."""

import io
from typing import Any, ClassVar

import fsspec
from fsspec.spec import AbstractFileSystem

__all__ = ["Bucket", "Share", "register"]


class Bucket(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Like an object store: flat keys, each appears when all of it has arrived, no rename, no folders."""

    protocol = "bucket"
    objects: ClassVar[dict[str, bytes]] = {}
    fails: ClassVar[dict[str, Exception]] = {}
    """The operation that shall fail, and how."""
    cachable = False

    def _fail(self, operation: str) -> None:
        if operation in self.fails:
            raise self.fails[operation]

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> Any:
        self._fail(mode)
        if mode == "wb":
            return _Upload(self, path)
        if path not in self.objects:
            raise FileNotFoundError(path)
        return io.BytesIO(self.objects[path])

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        self._fail("ls")
        path = path.rstrip("/")
        found: dict[str, dict[str, Any]] = {}
        for key, data in self.objects.items():
            if key == path:
                found[key] = {"name": key, "size": len(data), "type": "file"}
            elif key.startswith(f"{path}/"):
                step, _slash, rest = key[len(path) + 1 :].partition("/")
                kind = "directory" if rest else "file"
                below = f"{path}/{step}"
                found[below] = {"name": below, "size": 0 if rest else len(data), "type": kind}
        if not found:
            raise FileNotFoundError(path)
        return list(found.values()) if detail else list(found)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        if path1 not in self.objects:
            raise FileNotFoundError(path1)
        self.objects[path2] = self.objects[path1]

    def rm_file(self, path: str) -> None:
        self._fail("rm")
        if path not in self.objects:
            raise FileNotFoundError(path)
        del self.objects[path]

    def mkdir(self, path: str, *_: Any, **__: Any) -> None:
        raise NotImplementedError


class _Upload(io.BytesIO):
    def __init__(self, filesystem: Bucket, path: str) -> None:
        super().__init__()
        self._filesystem, self._path = filesystem, path

    def close(self) -> None:
        if not self.closed:
            self._filesystem.objects[self._path] = self.getvalue()
        super().close()


class Share(Bucket):
    """Like a share on the network: a file can be seen while it is being written; it can be renamed."""

    protocol = "share"
    objects: ClassVar[dict[str, bytes]] = {}
    fails: ClassVar[dict[str, Exception]] = {}
    seen: ClassVar[list[str]] = []
    """The names under which something unfinished could be seen."""

    def _open(self, path: str, mode: str = "rb", *rest: Any, **more: Any) -> Any:
        if mode == "wb":
            self.seen.append(path)
            self.objects[path] = b"unfinished"
        return super()._open(path, mode, *rest, **more)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Folders are made with the files."""

    def mv(self, path1: str, path2: str, *_: Any, **__: Any) -> None:
        if path1 not in self.objects:
            raise FileNotFoundError(path1)
        self.objects[path2] = self.objects.pop(path1)


def register() -> None:
    """Make `bucket://` and `share://` known to fsspec."""
    for kind in (Bucket, Share):
        fsspec.register_implementation(kind.protocol, kind, clobber=True)
