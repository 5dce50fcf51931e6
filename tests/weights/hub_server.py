"""A stand-in for the Hugging Face Hub on this machine: the part of its HTTP interface that `huggingface_hub` uses.

It keeps repositories in memory, with every commit. Files that end in `.safetensors` or `.bin` are Git LFS objects.
Source: the requests of huggingface_hub 2.4 (`file_download.py`, `_commit_api.py`, `lfs.py`), and of Git LFS.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import re
import threading
import urllib.parse

LARGE = (".safetensors", ".bin")
TOKEN = "hf_of_a_test"


def etag(path, content):
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, content=b"", **headers):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": len(content)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def handle_request(self):
        hub = self.server.hub
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append(f"{self.command} {path}")
        if hub.status:
            return self.answer(hub.status)
        for pattern, method in hub.routes:
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match:
                if self.command == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self.answer(401, X_Error_Message="Invalid credentials")
                return self.answer_with(*method(*match.groups(), body))
        return self.answer(404)

    def answer_with(self, status, content=b"", headers=None):
        self.answer(status, content, **(headers or {}))

    do_GET = do_HEAD = do_POST = do_PUT = handle_request  # noqa: N815, names of the library


class Hub:
    """Repositories by name: for each commit its files, path -> content."""

    def __init__(self, address):
        self.address = address
        self.requests: list[str] = []
        self.status = None  # with which every request fails
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.large: dict[str, bytes] = {}
        self.routes = [
            (r"(?:HEAD|GET) (\w+/[\w.-]+)/resolve/(.+)/([^/]+)", self.file),
            (r"POST api/repos/create", self.create),
            (r"POST api/validate-yaml", lambda _: (200, {"errors": [], "warnings": []})),
            (r"POST api/models/(\w+/[\w.-]+)/preupload/main", self.preupload),
            (r"POST (\w+/[\w.-]+)\.git/info/lfs/objects/batch", self.batch),
            (r"PUT large/(\w+)", self.put),
            (r"POST api/models/(\w+/[\w.-]+)/commit/main", self.commit),
        ]

    def add(self, repository, files):
        """Adds a commit to a repository; returns its hash."""
        commits = self.repositories.setdefault(repository, {})
        name = hashlib.sha1(f"{repository} {len(commits)}".encode()).hexdigest()
        commits[name] = files
        return name

    def file(self, repository, revision, path, _):
        commits = self.repositories.get(repository)
        if commits is None:
            return 404, b"", {"X_Error_Code": "RepoNotFound"}
        commit = list(commits)[-1] if revision == "main" else revision
        if commit not in commits:
            return 404, b"", {"X_Error_Code": "RevisionNotFound"}
        headers = {"X_Repo_Commit": commit}
        if path not in commits[commit]:
            return 404, b"", headers | {"X_Error_Code": "EntryNotFound"}
        content = commits[commit][path]
        return 200, content, headers | {"ETag": f'"{etag(path, content)}"'}

    def create(self, body):
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", "url": f"{self.address}/{name}"}
        self.repositories[name] = {}
        return 200, {"url": f"{self.address}/{name}"}

    def preupload(self, repository, body):
        mode = {True: "lfs", False: "regular"}
        paths = [file["path"] for file in json.loads(body)["files"]]
        return 200, {
            "files": [{"path": p, "uploadMode": mode[p.endswith(LARGE)], "shouldIgnore": False} for p in paths]
        }

    def batch(self, repository, body):
        def upload(oid):
            return {"upload": {"href": f"{self.address}/large/{oid}"}}

        asked = [one | {"actions": upload(one["oid"])} for one in json.loads(body)["objects"]]
        return 200, {"transfer": "basic", "objects": asked}, {"Content_Type": "application/vnd.git-lfs+json"}

    def put(self, oid, body):
        self.large[oid] = body
        return (200 if hashlib.sha256(body).hexdigest() == oid else 400), b""

    def commit(self, repository, body):
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
        name = self.add(repository, files)
        url = f"{self.address}/{repository}/commit/{name}"
        return 200, {"success": True, "commitUrl": url, "commitOid": name, "hookOutput": ""}

    def environment(self, home, **changes):
        """The environment of a program whose Hub this is, with its cache and settings in the directory `home`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        # The stand-in has Git LFS, not Hugging Face's storage Xet.
        own = {"HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        return kept | own | changes


@contextlib.contextmanager
def running_hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
