"""hf:owner/name against a stand-in hub on 127.0.0.1; a Python of its own fetches."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from patchwords.checkpoint import load_model, save_model
from patchwords.config import ViTConfig
from patchwords.errors import ConfigError, MissingError
from patchwords.formats import hub
from patchwords.models import build
from patchwords.preprocess import Preprocess

from .hub_server import Hub, Repository, Stand, commit_of

pytest.importorskip("huggingface_hub")

SERVE = """
import json, os, sys
from patchwords.errors import PatchwordsError
from patchwords.formats.hub import fetch
for line in sys.stdin:
    name, token = json.loads(line)
    os.environ.pop("HF_TOKEN", None)
    os.environ.update({"HF_TOKEN": token} if token else {})
    try:
        answer = {"path": str(fetch(name))}
    except PatchwordsError as fault:
        answer = fault.as_dict() | {"line": fault.line()}
    print(json.dumps(answer), flush=True)
"""
WEIGHTS = safetensors.torch.save({"w": torch.arange(5000.0)})
OLD, NEW = (
    {"config.json": b'{"version": %d}' % number, "model.safetensors": WEIGHTS, "README.md": b"# A model"}
    for number in (1, 2)
)


class Client:
    """A user's Python, which reads its settings once: where the hub is, where the cache, whether there is a network."""

    def __init__(self, address, home, **settings):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        kept |= {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._python = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            env=kept | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, name, token=""):
        """Return what fetching `name` gives: {"path": ...} or the fault's fields; nothing may be on stderr."""
        self._python.stdin.write(json.dumps([name, token]) + "\n")
        self._python.stdin.flush()
        line = self._python.stdout.readline()
        self._errors.seek(0)
        assert self._errors.read() == ""
        answer = json.loads(line)
        assert "line" not in answer or "\n" not in answer["line"]
        return answer

    def contents(self, name, token=""):
        """Return {name: bytes} of the folder that `name` gives."""
        return {path.name: path.read_bytes() for path in Path(self.ask(name, token)["path"]).iterdir()}

    def close(self):
        self._python.stdin.close()
        self._python.wait(timeout=20)
        self._errors.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return a hub, and two clients with one cache, the second without network."""
    state = Hub()
    stand, home = Stand(state), tmp_path_factory.mktemp("hub")
    clients = [Client(stand.address, home), Client(stand.address, home, HF_HUB_OFFLINE="1")]
    yield state, stand, *clients
    for client in clients:
        client.close()
    stand.stop()


@pytest.fixture
def state(world):
    """Return what the hub holds, for this test."""
    state, stand, *_ = world
    state.repositories, state.cut, state.broken = {}, 0, False
    state.requests.clear()
    stand.start()
    return state


@pytest.fixture
def stand(world):
    return world[1]


@pytest.fixture
def client(world):
    return world[2]


@pytest.fixture
def offline(world):
    return world[3]


def hold(state, name, access="open", **versions):
    """Put a model on the hub; a test has names of its own, for the cache is kept."""
    state.repositories[f"cats/{name}"] = Repository(dict(versions), access)
    return f"hf:cats/{name}"


def test_a_model_arrives_and_stays(state, stand, client, offline):
    name = hold(state, "stays", main=NEW, v1=OLD)
    assert client.contents(name) == NEW
    downloads = [line for line in state.requests if line.startswith("GET /cats")]
    assert len(downloads) == 3
    assert client.contents(name) == NEW
    assert [line for line in state.requests if line.startswith("GET /cats")] == downloads
    asked = len(state.requests)
    assert offline.contents(name) == NEW
    lost = offline.ask(f"{name}@v1")
    assert lost["error"] == "ReadError" and "HF_HUB_OFFLINE" in lost["fix"]
    assert len(state.requests) == asked
    stand.stop()
    assert client.contents(name) == NEW
    lost = client.ask("hf:cats/never")
    assert (lost["error"], lost["where"]) == ("ReadError", "hf:cats/never") and "network" in lost["fix"]


def test_a_new_version_is_seen_and_a_pinned_one_stays(state, stand, client):
    name, old = hold(state, "pinned", main=NEW, v1=OLD), commit_of(OLD)
    assert client.contents(f"{name}@v1") == client.contents(f"{name}@{old}") == OLD
    asked = len(state.requests)
    assert client.ask(f"{name}@{old}")["path"].endswith(old)
    assert len(state.requests) == asked  # a commit in the cache needs no network
    assert client.contents(name) == NEW
    hold(state, "pinned", main=OLD | {"config.json": b"{}"}, v1=OLD)
    assert client.contents(name)["config.json"] == b"{}"
    stand.stop()
    assert client.contents(f"{name}@v1") == OLD


def test_while_the_hub_is_down_the_cache_is_used(state, client):
    name = hold(state, "down", main=NEW)
    client.ask(name)
    state.broken = True
    assert client.contents(name) == NEW
    lost = client.ask("hf:cats/other")
    assert lost["error"] == "ReadError" and "503" in lost["what"]


def test_what_is_not_there(state, client):
    lost = client.ask("hf:cats/tiger")
    assert (lost["error"], lost["exit_code"]) == ("MissingError", 66) and "HF_TOKEN" in lost["fix"]
    assert client.ask("hf:cats/tiger", token="hf_good")["error"] == "MissingError"
    name = hold(state, "here", main=NEW)
    lost = client.ask(f"{name}@v9")
    assert lost["error"] == "MissingError" and "v9" in lost["what"]
    assert client.ask(f"{name}@{'0' * 40}")["error"] == "MissingError"
    lost = client.ask(f"{name}:model.npz")
    assert lost["error"] == "MissingError" and "model.npz" in lost["what"] and "model.safetensors" in lost["fix"]


def test_gated_and_private_models_need_a_token(state, client):
    gated, private = hold(state, "gated", "gated", main=NEW), hold(state, "private", "private", main=NEW)
    shut = client.ask(gated)
    assert (shut["error"], shut["exit_code"]) == ("PermissionFault", 77)
    assert "HF_TOKEN" in shut["fix"] and "/cats/gated" in shut["fix"]
    shut = client.ask(private)
    assert shut["error"] == "MissingError" and "private" in shut["fix"]
    for name in (gated, private, hold(state, "public", main=NEW)):
        shut = client.ask(name, token="hf_wrong")
        assert shut["error"] == "PermissionFault" and "token" in shut["what"]
    for name in (gated, private):
        assert client.contents(name, token="hf_good") == NEW


def test_an_interrupted_download_goes_on(state, client):
    large = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4096 * 12}  # read in parts of 10 MiB
    name = hold(state, "large", main=large)
    state.cut = 2
    assert client.contents(name) == large
    resumed = [line for line in state.requests if "bytes=" in line]
    assert len(resumed) == 2 and all("model.safetensors" in line for line in resumed)


def test_a_download_that_never_ends_fails_and_is_not_taken_for_whole(state, client, offline):
    """huggingface_hub waits a second before each of its five attempts."""
    name = hold(state, "cut", main=NEW)
    state.cut = 1000
    lost = client.ask(name)
    assert lost["error"] == "ReadError" and "again" in lost["fix"]
    assert offline.ask(name)["error"] == "ReadError"
    state.cut = 0
    assert client.contents(name) == NEW


def test_a_folder_of_ours_from_the_hub(state, client, tmp_path):
    config = ViTConfig(image_size=(8, 8), patch_size=(4, 4), dim=8, depth=1, num_heads=2, mlp_dim=8, num_classes=2)
    weights = build(config).state_dict()
    save_model(tmp_path / "model", config, weights, ("a", "b"), Preprocess(image_size=(8, 8)), {"data": "x"})
    name = hold(state, "ours", main={path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()})
    loaded = load_model(client.ask(name)["path"])
    assert loaded.classes == ("a", "b")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.model.state_dict().items())


def test_one_file_of_many_and_what_lies_beside_it(state, client, offline):
    files = {"B/a.npz": b"a" * 50, "B/b.npz": b"b" * 50, "B/config.json": b"{}", "config.json": b"[]", "x[1].pth": b"x"}
    name = hold(state, "many", main=files, **{"refs/pr/1": files | {"B/a.npz": b"new"}})
    path = Path(client.ask(f"{name}:B/a.npz")["path"])
    assert path.read_bytes() == b"a" * 50
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["a.npz", "config.json"]
    assert offline.ask(f"{name}:B/a.npz")["path"] == str(path)
    assert offline.ask(f"{name}:B/b.npz")["error"] == "ReadError"
    assert Path(client.ask(f"{name}:x[1].pth")["path"]).read_bytes() == b"x"
    assert Path(client.ask(f"{name}@refs/pr/1:B/a.npz")["path"]).read_bytes() == b"new"


def test_a_shard_that_is_missing_is_not_taken_for_whole(state, client, offline):
    index = {"weight_map": {"w": SHARDS[0], "v": SHARDS[1]}}
    files = {name: WEIGHTS for name in SHARDS} | {"model.safetensors.index.json": json.dumps(index).encode()}
    name = hold(state, "shards", main=files)
    folder = Path(client.ask(name)["path"])
    assert offline.ask(name)["path"] == str(folder)
    (folder / SHARDS[1]).unlink()
    assert offline.ask(name)["error"] == "ReadError"
    assert client.ask(name)["path"] == str(folder) and (folder / SHARDS[1]).exists()


NAME = hub.parse("hf:a/b")
SHARDS = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["model.safetensors", "pytorch_model.bin", "tf_model.h5", "x/model.safetensors"], ["model.safetensors"]),
        ([*SHARDS, "model.safetensors.index.json", "pytorch_model.bin"], [*SHARDS, "model.safetensors.index.json"]),
        (["pytorch_model.bin", "training_args.bin", "config.json"], ["config.json", "pytorch_model.bin"]),
        (["open_clip.safetensors", "model.npz"], ["open_clip.safetensors"]),
        (["B_16.npz", "dino.pth"], ["B_16.npz"]),
        (["dino.pth", "README.md", "preprocessor_config.json"], ["README.md", "dino.pth", "preprocessor_config.json"]),
        (["model.safetensors", "model.fp16.safetensors", "manifest.json"], ["manifest.json", "model.safetensors"]),
    ],
    ids=lambda value: value[0],
)
def test_which_files_are_fetched(files, wanted):
    assert hub.chosen(files, NAME) == wanted


def test_several_models_must_be_told_apart():
    with pytest.raises(ConfigError, match="several models: a.npz, b.npz. Name one: hf:a/b:FILE"):
        hub.chosen(["a.npz", "b.npz"], NAME)
    for files in ([], ["README.md", "tf_model.h5"]):
        with pytest.raises(MissingError, match="no weights"):
            hub.chosen(files, NAME)
    index = "model.safetensors.index.json"
    assert hub.chosen([*SHARDS, index, "z.npz"], hub.parse(f"hf:a/b:{index}")) == [*SHARDS, index]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:google/vit-base-patch16-224", ("google/vit-base-patch16-224", "", "")),
        ("hf:timm/vit_tiny.augreg@v1.0", ("timm/vit_tiny.augreg", "v1.0", "")),
        ("hf:a/b@refs/pr/3:x/y.npz", ("a/b", "refs/pr/3", "x/y.npz")),
        ("hf:a/b:my file.npz", ("a/b", "", "my file.npz")),
    ],
)
def test_names(text, parts):
    name = hub.parse(text)
    assert (name.repository, name.revision, name.file) == parts and str(name) == text
    assert hub.is_name(text) and not hub.is_name("runs/hf")


BAD = ["hf:", "hf:a", "hf:a/b/c", "hf:/b", "hf:a/", "hf:a/b@", "hf:a/b:", "hf:a/b@x y", "hf:a/b:../x", "hf:a/b:/x"]


@pytest.mark.parametrize("text", [*BAD, "hf:a/..", "hf:a--b/c", "hf:a/b@../x", "hf:a/b:x\\y", "hf:a/b\n", "a/b"])
def test_malformed_names_are_refused(text):
    with pytest.raises(ConfigError, match="hf:owner/name"):
        hub.fetch(text)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install 'patchwords\[hub\]'"):
        hub.fetch("hf:a/b")
