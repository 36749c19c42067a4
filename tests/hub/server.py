"""A small Hub on this machine: the parts of its HTTP protocol that huggingface_hub speaks to publish and to pull.

Repositories are lists of commits, a commit is path -> bytes. Faults are set on the server by a test.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tests.loopback import need_loopback

TOKEN = "hf_" + "localtoken" * 3
USER = "ann"
LICENSES = ("apache-2.0", "mit", "other")
LFS_BYTES = 10 << 20
API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|preupload|commit|tree)/([^/]+))?")
RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repo:
    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)  # (id, files), oldest first

    def commit(self, files: dict[str, bytes]) -> str:
        text = f"{len(self.commits)}" + "".join(
            f"{name}{hashlib.sha1(files[name]).hexdigest()}" for name in sorted(files)
        )
        id_ = hashlib.sha1(text.encode()).hexdigest()
        self.commits.append((id_, files))
        return id_

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.asked: list[str] = []  # method and path of every request
        # faults
        self.drop_uploads = 0  # so many uploads break off in the middle
        self.hold_uploads: threading.Event | None = None  # an upload waits for this, half read
        self.uploading = threading.Event()
        self.hold_downloads: threading.Event | None = None  # so does the download of a large file
        self.downloading = threading.Event()
        self.upon_upload: Callable[[], object] = lambda: None
        self.refuse_commits = 0  # HTTP status of the commit
        self.sizes: dict[str, int] = {}  # what the listing says where it lies
        self.sent: dict[str, bytes] = {}  # what goes out where it is not what was committed

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def store(self) -> str:
        """Where large files are fetched from: another host, to which no token may go."""
        return self.url.replace("127.0.0.1", "localhost")

    def files(self, repo: str) -> dict[str, bytes]:
        return self.repos[repo].commits[-1][1]

    def change(self, repo: str, **files: bytes | None) -> str:
        """A commit by another hand; None takes a file away."""
        new = {**self.files(repo), **files}
        return self.repos[repo].commit({name: data for name, data in new.items() if data is not None})

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that left


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Hub

    def log_message(self, *words: Any) -> None:
        pass

    # -- the protocol ----------------------------------------------------------------------------------------

    def do_POST(self) -> None:
        path = self.begin()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/validate-yaml":
            return self.validate(json.loads(body))
        if not self.authorized():
            return self.refuse(401, "Invalid username or password.")
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if batch := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self.batch(batch[1], json.loads(body))
        if path.startswith("/verify/"):
            held = self.server.lfs.get(json.loads(body)["oid"])
            return self.answer({}) if held is not None else self.refuse(404, "no such object")
        found = API.fullmatch(path)
        if not found or found[1] not in self.server.repos:
            return self.refuse(404, "Repository not found", "RepoNotFound")
        if found[1].split("/")[0] != USER:
            return self.refuse(403, "You do not have the rights")
        if found[2] == "preupload":
            return self.preupload(found[1], json.loads(body))
        return self.commit(found[1], [json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        path = self.begin()
        length = int(self.headers["Content-Length"])
        half = self.rfile.read(length // 2)
        self.server.uploading.set()
        if self.server.hold_uploads is not None:
            self.server.hold_uploads.wait(30)
        if self.server.drop_uploads:
            self.server.drop_uploads -= 1
            return self.drop()
        data = half + self.rfile.read(length - len(half))
        oid = path.rpartition("/")[2]
        if hashlib.sha256(data).hexdigest() != oid:
            return self.refuse(400, "not that object")
        self.server.lfs[oid] = data
        self.server.upon_upload()
        return self.answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.begin()
        if found := RESOLVE.fullmatch(path):
            return self.resolve(found[1], unquote(found[2]), found[3])
        if path.startswith("/lfs/"):
            if "Authorization" in self.headers:
                return self.refuse(400, "a token was given away")
            self.server.downloading.set()
            if self.server.hold_downloads is not None:
                self.server.hold_downloads.wait(30)
            return self.send(200, self.server.lfs[path.rpartition("/")[2]])
        found = API.fullmatch(path)
        repo = self.readable(found[1]) if found else None
        if found is None or repo is None:
            return None
        commit = repo.at(unquote(found[3] or "main"))
        if commit is None:
            return self.refuse(404, "Invalid rev id", "RevisionNotFound")
        siblings = [
            {"rfilename": name, "size": self.server.sizes.get(name, len(data)), "blobId": git_hash(data)}
            for name, data in commit[1].items()
        ]
        return self.answer(
            {"id": found[1], "sha": commit[0], "private": repo.private, "siblings": siblings, "tags": []}
        )

    def create(self, body: dict[str, Any]) -> None:
        name = f"{body['organization'] or USER}/{body['name']}"
        if body["organization"] not in (None, USER):
            return self.refuse(403, "You do not have the rights")
        if name in self.server.repos:
            return self.refuse(409, "You already created this model repo")
        repo = self.server.repos[name] = Repo(private=body.get("visibility") == "private" or bool(body.get("private")))
        repo.commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return self.answer({"url": f"{self.server.url}/{name}", "name": name})

    def preupload(self, repo: str, body: dict[str, Any]) -> None:
        there = self.server.files(repo)
        files = []
        for file in body["files"]:
            large = file["path"].endswith((".safetensors", ".npy")) or file["size"] > LFS_BYTES
            data = there.get(file["path"])
            oid = None if data is None else hashlib.sha256(data).hexdigest() if large else git_hash(data)
            mode = "lfs" if large else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return self.answer({"files": files})

    def batch(self, repo: str, body: dict[str, Any]) -> None:
        objects = []
        for wanted in body["objects"]:
            oid = wanted["oid"]
            actions = {
                "upload": {"href": f"{self.server.url}/lfs/{oid}"},
                "verify": {"href": f"{self.server.url}/verify/{oid}"},
            }
            objects.append({**wanted, **({} if oid in self.server.lfs else {"actions": actions})})
        return self.answer({"transfer": "basic", "objects": objects})

    def commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        if self.server.refuse_commits:
            return self.refuse(self.server.refuse_commits, "not now")
        files = dict(self.server.files(repo))
        for line in lines:
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit") not in (
                None,
                self.server.repos[repo].commits[-1][0],
            ):
                return self.refuse(412, "A commit has happened since")
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.server.lfs:
                    return self.refuse(400, "the object was not uploaded")
                files[value["path"]] = self.server.lfs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        id_ = self.server.repos[repo].commit(files)
        return self.answer({"commitUrl": f"{self.server.url}/{repo}/commit/{id_}", "commitOid": id_})

    def resolve(self, name: str, revision: str, file: str) -> None:
        repo = self.readable(name)
        if repo is None:
            return None
        commit = repo.at(revision)
        if commit is None:
            return self.refuse(404, "Invalid rev id", "RevisionNotFound")
        data = commit[1].get(file)
        if data is None:
            return self.refuse(404, "Entry not found", "EntryNotFound")
        sent = self.server.sent.get(file, data)
        oid = hashlib.sha256(data).hexdigest()
        head = {"X-Repo-Commit": commit[0], "ETag": f'"{git_hash(data)}"', "Accept-Ranges": "bytes"}
        if sent is data and self.server.lfs.get(oid) == data:  # kept elsewhere
            linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(data))}
            return self.send(302, b"", {**head, **linked, "Location": f"{self.server.store}/lfs/{oid}"})
        said = {"X-Linked-Size": str(len(data))} if sent is not data else {}
        return self.send(200, sent, {**head, **said})

    def validate(self, body: dict[str, Any]) -> None:
        """As far as it is written down what the Hub wants of a model's card."""
        errors = card_errors(body["content"])
        self.answer({"errors": [{"message": error} for error in errors], "warnings": []}, 400 if errors else 200)

    # -- how it answers --------------------------------------------------------------------------------------

    def begin(self) -> str:
        path = urlsplit(self.path).path
        self.server.asked.append(f"{self.command} {path}")
        return path

    def authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def readable(self, name: str) -> Repo | None:
        """The repository; refused as the Hub does, which does not tell one that is private from one that is not."""
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and not self.authorized()):
            status = 404 if self.authorized() else 401
            self.refuse(status, "Repository not found", "RepoNotFound")
            return None
        return repo

    def answer(self, record: Any, status: int = 200) -> None:
        self.send(status, json.dumps(record).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, message: str, code: str | None = None) -> None:
        head = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.send(status, json.dumps({"error": message}).encode(), head)

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drop(self) -> None:
        """Break the connection off, as a router does that is switched off."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def card_errors(content: str) -> list[str]:
    start, text, _ = [*content.split("---\n", 2), "", ""][:3]
    if start or not text:
        return ["no metadata"]
    data = yaml.safe_load(text)
    wrong = [] if data.get("license") in LICENSES else [f'"license" must be one of {", ".join(LICENSES)}']
    base = data.get("base_model")
    if not isinstance(base, str) or not re.fullmatch(r"[\w.-]+/[\w.-]+", base):
        wrong.append('"base_model" with value is not valid')
    for name in ("tags", "model-index"):
        if name in data and not isinstance(data[name], list):
            wrong.append(f'"{name}" must be an array')
    for index in data.get("model-index", []):
        for result in index["results"]:
            for key in ("task", "dataset", "metrics"):
                if not result.get(key):
                    wrong.append(f'"model-index[0].results.{key}" is required')
            wrong += [
                f'"metrics.{key}" is required' for m in result["metrics"] for key in ("type", "value") if key not in m
            ]
    return wrong


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    need_loopback()
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
