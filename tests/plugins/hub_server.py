"""A hub on this machine: the part of Hugging Face's protocol that uploads and downloads, with connections that drop."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = re.compile(r"^/api/(models|datasets)/([^/]+/[^/]+)(?:/(.*))?$")
RESOLVE = re.compile(r"^/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")


class Hub(ThreadingHTTPServer):
    """Holds repositories in memory: ``files[(kind, name)][path]`` is bytes.

    Attributes:
        tokens: what is accepted as a bearer; anything else is refused where something is written.
        drop_downloads: paths whose next download breaks off in the middle.
        drop_uploads: how many of the next large uploads break off.
        asked: (method, path, Range header) of every request.
        sent: large objects that were received whole, in order.
    """

    daemon_threads = True

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.token = token
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.drop_downloads: set[str] = set()
        self.drop_uploads = 0
        self.asked: list[tuple[str, str, str | None]] = []
        self.sent: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def put(self, kind: str, name: str, files: dict[str, bytes]) -> None:
        self.files[kind, name] = dict(files)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def _reply(self, body: object, status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _note(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        return path

    def _may_write(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.server.token}":
            return True
        self._body()
        self._reply({"error": "Invalid credentials"}, 401)
        return False

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self._note()
        if found := RESOLVE.match(path):
            self._file("datasets" if found[1] else "models", found[2], found[4])
        elif (found := REPOSITORY.match(path)) and (found[1], found[2]) in self.server.files:
            self._about(found[1], found[2], found[3] or "")
        else:
            self._reply({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    def _about(self, kind: str, name: str, rest: str) -> None:
        files = self.server.files[kind, name]
        if rest.startswith("tree/"):
            folder = rest.split("/", 2)[2] if rest.count("/") > 1 else ""
            self._reply(_tree(files, folder, "recursive=true" in self.path.lower()))
            return
        siblings = [{"rfilename": path} for path in files]
        about = {"id": name, "sha": COMMIT, "private": self.server.private.get(name, False), "siblings": siblings}
        self._reply({**about, "tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False})

    def _file(self, kind: str, name: str, path: str) -> None:
        data = self.server.files.get((kind, name), {}).get(path)
        if data is None:
            known = (kind, name) in self.server.files
            code = "EntryNotFound" if known else "RepoNotFound"
            self._reply({"error": "not found"}, 404, X_Error_Code=code, X_Repo_Commit=COMMIT)
            return
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
        start = 0
        if wanted := re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range") or ""):
            start, stop = int(wanted[1]), int(wanted[2] or len(data) - 1)
            part = data[start : stop + 1]
            self._reply(part, 206, Content_Range=f"bytes {start}-{start + len(part) - 1}/{len(data)}", **headers)
            return
        if self.command == "GET" and path in self.server.drop_downloads:
            self.server.drop_downloads.discard(path)
            self.send_response(200)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self._reply(data, **headers)

    def do_POST(self) -> None:
        path = self._note()
        if path == "/api/validate-yaml":
            self._body()
            self._reply({"warnings": [], "errors": []})
            return
        found = REPOSITORY.match(path)
        if found and (found[3] or "").startswith("paths-info/"):
            body = self._body()
            wanted = json.loads(body)["paths"] if body[:1] == b"{" else re.findall(r"paths=([^&]+)", body.decode())
            files = self.server.files.get((found[1], found[2]), {})
            self._reply([_entry(unquote(name), files[unquote(name)]) for name in wanted if unquote(name) in files])
            return
        if not self._may_write():
            return
        if path == "/api/repos/create":
            asked = json.loads(self._body())
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            is_new = ("models", name) not in self.server.files
            self.server.files.setdefault(("models", name), {})
            self.server.private[name] = bool(asked.get("private") or asked.get("visibility") == "private")
            self._reply({"url": f"{self.server.url}/{name}", "id": name}, 200 if is_new else 409)
        elif found and found[3].startswith("preupload/"):
            files = json.loads(self._body())["files"]
            modes = ["lfs" if file["path"].endswith(".safetensors") else "regular" for file in files]
            told = zip(files, modes, strict=True)
            self._reply({"files": [{"path": f["path"], "uploadMode": mode, "shouldIgnore": False} for f, mode in told]})
        elif path.endswith("/info/lfs/objects/batch"):
            self._reply(
                {"transfer": "basic", "objects": [self._large(one) for one in json.loads(self._body())["objects"]]}
            )
        elif found and found[3].startswith("commit/"):
            self._commit(found[1], found[2])
        else:
            self._body()
            self._reply({})

    def _large(self, wanted: dict[str, object]) -> dict[str, object]:
        known = wanted["oid"] in self.server.objects
        actions = {"actions": {"upload": {"href": f"{self.server.url}/upload/{wanted['oid']}"}}}
        return {"oid": wanted["oid"], "size": wanted["size"], **({} if known else actions)}

    def _commit(self, kind: str, name: str) -> None:
        files = self.server.files.setdefault((kind, name), {})
        for line in self._body().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
        url = f"{self.server.url}/{name}/commit/{COMMIT}"
        self._reply({"success": True, "commitUrl": url, "commitOid": COMMIT, "hookOutput": ""})

    def do_PUT(self) -> None:
        path = self._note()
        if self.server.drop_uploads:
            self.server.drop_uploads -= 1
            self.rfile.read(64)
            self.close_connection = True
            self.connection.shutdown(2)
            return
        data = self._body()
        digest = hashlib.sha256(data).hexdigest()
        assert path.endswith(digest)
        self.server.objects[digest] = data
        self.server.sent.append(digest)
        self._reply({})


def _tree(files: dict[str, bytes], folder: str, recursive: bool) -> list[dict[str, object]]:
    """Files and folders below a folder, or directly in it."""
    start = f"{folder}/" if folder else ""
    inside = [path for path in files if path.startswith(start)]
    folders = {start + "/".join(parts[:n]) for path in inside for parts in [path[len(start) :].split("/")]
               for n in range(1, len(parts))}  # fmt: skip
    entries = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(folders)]
    entries += [_entry(path, files[path]) for path in inside]
    return [one for one in entries if recursive or "/" not in str(one["path"])[len(start) :]]


def _entry(path: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
