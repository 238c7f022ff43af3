"""Every number on the page is the one that the functions of `inspection` give, for every kind of model."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("starlette", reason="the live page needs the extra `serve`")

from patchwords import inspection
from patchwords.inspection.explanation import METHODS

from .site import client_of, kinds, picture, unpacked

KINDS = kinds()
ATTENDS = [name for name in KINDS if name != "cnn"]
HEADED = [name for name in KINDS if name not in ("no head", "every token")]


class Site:
    """The page of one model, with one picture on it."""

    def __init__(self, name: str) -> None:
        self.loaded, self.client = KINDS[name], client_of(KINDS[name])
        self.model = self.loaded.model
        data = picture(3)
        self.picture = self.client.post("/api/pictures", content=data).json()["id"]
        self.pixels = self.loaded.preprocess.pixels(data)
        self.images = self.loaded.preprocess.normalize(self.pixels[None])

    def get(self, path: str, **given: Any) -> Any:
        return self.client.get(f"/api/{path}", params={"model": "0", "picture": self.picture} | given)

    def arrays(self, path: str, **given: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        answer = self.get(path, **given)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/octet-stream"
        return unpacked(answer.content)


SITES: dict[str, Site] = {}


@pytest.fixture(params=list(KINDS))
def site(request) -> Site:
    return SITES.setdefault(request.param, Site(request.param))


def named(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("site", names, indirect=True)


def halves(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32).astype(np.float16)


def test_the_state_describes_the_model(site: Site) -> None:
    model, config = site.model, site.model.config
    told = site.client.get("/api/state").json()["models"][0]
    attends = hasattr(model, "blocks")
    assert told["attention"] is attends and told["kind"] == ("vit" if attends else "cnn")
    assert (told["layers"], told["heads"]) == ((config.depth, config.num_heads) if attends else (0, 0))
    assert told["image_size"] == list(config.image_size) and told["grid"] == list(model.grid)
    assert [g * c for g, c in zip(told["grid"], told["cell_px"], strict=True)] == told["image_size"]
    assert len(told["prefix"]) == model.num_prefix_tokens
    assert told["parameters"] == sum(p.numel() for p in model.parameters())
    answers = getattr(config, "pool", "") != "none" and config.num_classes
    assert told["classes"] == answers
    wanted = [name for name in METHODS if attends or name != "gradient_rollout"] if answers else []
    assert told["methods"] == wanted


def test_a_prediction_is_the_models(site: Site) -> None:
    found = site.get("predict", top=3).json()
    if not found["classes"]:
        assert found == {"labels": [], "classes": 0}
        return
    with torch.inference_mode():
        logits = site.model(site.images)[0]
    probabilities = logits.softmax(0)
    best = logits.argsort(descending=True)[:3].tolist()
    assert [label["index"] for label in found["labels"]] == best
    for label, index in zip(found["labels"], best, strict=True):
        assert label["class"] == site.loaded.classes[index]
        assert label["logit"] == float(logits[index]) and label["probability"] == float(probabilities[index])


def test_the_picture_is_what_the_model_sees(site: Site) -> None:
    from PIL import Image

    answer = site.client.get(f"/api/pictures/{site.picture}/image", params={"model": "0"})
    assert answer.headers["content-type"] == "image/png"
    seen = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert np.array_equal(seen, site.pixels.permute(1, 2, 0).numpy())


@named(*ATTENDS)
def test_attention_is_that_of_inspection(site: Site) -> None:
    whole = inspection.attention_weights(site.model, site.images)
    far = inspection.attention_distance(site.model, site.images)
    found, meta = site.arrays("attention")
    assert np.array_equal(found["weights"], halves(whole.weights[:, 0]))
    assert np.array_equal(found["distance_px"], far.distance_px)
    assert meta["uniform_px"] == pytest.approx(far.uniform_px, rel=1e-12)
    assert meta["tokens"] == whole.weights.shape[-1] and meta["prefix"] == list(whole.tokens)
    assert ("pool" in found) == (whole.pool_weights is not None)
    if whole.pool_weights is not None:
        assert np.array_equal(found["pool"], halves(whole.pool_weights[0]))


@named(*ATTENDS)
@pytest.mark.parametrize("order", [("1", "2"), ("2", "1"), ("1-1", "2-2"), ("1-2", "2-2")])
def test_layers_may_be_asked_for_in_any_order(site: Site, order: tuple[str, str]) -> None:
    whole, _ = site.arrays("attention")
    fresh = Site(next(name for name, each in KINDS.items() if each is site.loaded))
    for layers in order:
        low, high = int(layers[0]), int(layers[-1])
        part, meta = fresh.arrays("attention", layers=layers)
        assert meta["layers"] == [low, high]
        assert np.array_equal(part["weights"], whole["weights"][low - 1 : high])
        assert np.array_equal(part["distance_px"], whole["distance_px"][low - 1 : high])


@named(*ATTENDS)
@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_rollout_is_that_of_inspection(site: Site, fusion: str) -> None:
    whole = inspection.attention_rollout(site.model, site.images, fusion=fusion, matrix=True)
    found, meta = site.arrays("rollout", fusion=fusion)
    assert np.array_equal(found["matrix"], halves(whole.matrix[0]))
    assert meta["fusion"] == fusion and meta["query"] == whole.query


@named(*HEADED)
@pytest.mark.parametrize("method", METHODS)
def test_attribution_is_that_of_inspection_with_its_curves(site: Site, method: str) -> None:
    if method == "gradient_rollout" and not hasattr(site.model, "blocks"):
        assert site.get("attribution", method=method).status_code == 400
        return
    target = 2
    (whole,) = inspection.attribute(site.model, site.images, np.array([target]), methods=[method])
    curves = inspection.measure_curves(site.model, site.images, [whole])
    quick, early = site.arrays("attribution", method=method, target=target, curves=0)
    found, meta = site.arrays("attribution", method=method, target=target)
    assert early["curves"] is None and early["explains"] is None
    assert np.array_equal(quick["map"], found["map"])
    np.testing.assert_allclose(found["map"], whole.maps[0], atol=1e-6, rtol=1e-5)
    assert (meta["target"], meta["class"], meta["unit"]) == (target, site.loaded.classes[target], whole.unit)
    for name in ("deletion", "insertion"):
        area, line = getattr(curves, f"{name}_area"), getattr(curves, name)
        assert meta["curves"][f"{name}_area"] == pytest.approx(area[0, 0], abs=1e-5)
        assert meta["curves"][f"random_{name}_area"] == pytest.approx(area[1, 0], abs=1e-5)
        np.testing.assert_allclose(meta["curves"][name], line[0, 0], atol=1e-5)
        np.testing.assert_allclose(meta["curves"][f"random_{name}"], line[1, 0], atol=1e-5)
    assert meta["explains"] == curves.explains[0]


@named(*HEADED)
def test_the_most_probable_class_is_explained_when_none_is_named(site: Site) -> None:
    best = site.get("predict", top=1).json()["labels"][0]
    _, meta = site.arrays("attribution", curves=0)
    assert (meta["target"], meta["class"]) == (best["index"], best["class"])
    assert meta["logit"] == pytest.approx(best["logit"], abs=1e-5)


def test_the_receptive_field_is_that_of_inspection(site: Site) -> None:
    found, meta = site.arrays("receptive")
    whole = inspection.measure_receptive_field(site.model, site.images, layers=meta["layers"])
    assert np.array_equal(found["maps"], whole.maps)
    assert len(meta["layers"]) == (3 if not hasattr(site.model, "blocks") else len(site.model.blocks) + 1)
    for name in ("radius50_px", "radius90_px", "support_share"):
        np.testing.assert_allclose(meta[name], getattr(whole, name), rtol=1e-6)


def test_patches_are_read_where_the_head_allows_it(site: Site) -> None:
    if getattr(site.model.config, "pool", "") not in ("cls", "mean") or not site.model.config.num_classes:
        answer = site.get("patches")
        assert answer.status_code == 404 and answer.json()["what"]
        return
    whole = inspection.read_layers(site.model, site.images, targets=np.array([1]), drawn=1)
    found, meta = site.arrays("patches", target=1)
    assert np.array_equal(found["map"], whole.maps[:, 0])
    assert meta["layers"] == list(whole.layers) and meta["class"] == "class 1"


@named("class token")
@pytest.mark.parametrize(
    ("what", "options"),
    [("attention", {"layers": "2-2"}), ("rollout", {"fusion": "max"}), ("attribution", {}), ("receptive", {})],
)
def test_a_download_has_the_same_numbers(site: Site, what: str, options: dict[str, str]) -> None:
    arrays, meta = site.arrays(what, **options)
    answer = site.get("download.npz", what=what, **options)
    assert answer.headers["content-disposition"] == f'attachment; filename="patchwords-{what}.npz"'
    saved = np.load(io.BytesIO(answer.content), allow_pickle=False)
    assert set(saved.files) == {*arrays, "meta"}
    for name, array in arrays.items():
        assert saved[name].dtype == array.dtype and np.array_equal(saved[name], array)
    assert json.loads(str(saved["meta"])) == meta


def test_what_a_model_cannot_be_asked_is_said(site: Site) -> None:
    refused = [] if hasattr(site.model, "blocks") else ["attention", "rollout"]
    refused += [] if site.client.get("/api/state").json()["models"][0]["classes"] else ["attribution", "patches"]
    for what in refused:
        for path, options in ((what, {}), ("download.npz", {"what": what})):
            answer = site.get(path, **options)
            assert answer.status_code == 404 and "model" in answer.json()["what"]
