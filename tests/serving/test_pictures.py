"""Pictures of the page: the given ones stay, uploaded ones come and go, and all are seen as each model sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the live page needs the extra `serve`")

from patchwords.data.evaluation import find_pictures
from patchwords.preprocess import Preprocess
from patchwords.serving import Limits
from patchwords.serving.pictures import Pictures

from ..inspection.tiny import tiny_vit
from .site import client_of, loaded, picture, unpacked

PREPROCESS = Preprocess(image_size=(12, 8), resize="squash")
ONE = 12 * 8 * 3
"""bytes of one picture as the model sees it"""


def test_given_pictures_are_listed_with_their_faults(tmp_path: Path) -> None:
    (tmp_path / "<b>.png").write_bytes(picture(1))
    (tmp_path / "cut.png").write_bytes(picture(2)[:300])
    (tmp_path / "text.png").write_bytes(b"hello")
    given = [tmp_path / "<b>.png", tmp_path / "cut.png", tmp_path / "text.png", tmp_path / "absent.png"]
    client = client_of(loaded(tiny_vit()), given=given)
    good, *faults = client.get("/api/state").json()["pictures"]
    assert good["name"] == "<b>.png" and "fault" not in good
    assert [each["name"] for each in faults] == ["cut.png", "text.png", "absent.png"]
    for each in faults:
        assert each["id"] == "" and each["fault"]["what"] and each["fault"]["where"] == each["name"]
    assert str(tmp_path) not in client.get("/api/state").text
    assert client.get(f"/api/predict?model=0&picture={good['id']}").status_code == 200
    assert client.get("/api/predict?model=0&picture=").status_code == 404


def test_folders_and_found_pictures_are_given_too(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    names = [f"{number}.png" for number in range(5)]
    for given in ([tmp_path], list(find_pictures([tmp_path])), [str(path) for path in sorted(tmp_path.iterdir())]):
        assert sorted(each["name"] for each in Pictures([PREPROCESS], given, Limits()).listing()) == names
    assert len(Pictures([PREPROCESS], [tmp_path], Limits(given=3)).listing()) == 3


def test_the_oldest_uploads_go_and_given_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    pictures = Pictures([PREPROCESS], [tmp_path / "a.png"], Limits(uploaded=3))
    made = [pictures.add(picture(number), f"{number}") for number in range(1, 6)]
    assert [each["name"] for each in pictures.listing()] == ["a.png", "3", "4", "5"]
    pictures.add(picture(3), "3 again")  # is the newest now
    pictures.add(picture(6), "6")
    assert [each["name"] for each in pictures.listing()] == ["a.png", "5", "3 again", "6"]
    assert pictures.add(picture(0), "not this name").name == "a.png"
    with pytest.raises(Exception, match="Drop it again"):
        pictures.pixels(made[0].id, PREPROCESS)


@pytest.mark.parametrize(("room", "kept"), [(0, 1), (ONE, 1), (2 * ONE + 1, 2), (9 * ONE, 4)])
def test_uploads_are_bounded_in_bytes(room: int, kept: int) -> None:
    pictures = Pictures([PREPROCESS], [], Limits(uploaded_bytes=room))
    for number in range(4):
        pictures.add(picture(number), f"{number}")
    assert [each["name"] for each in pictures.listing()] == [f"{number}" for number in range(4)][-kept:]


def test_names_of_pictures_are_hashes_of_their_content() -> None:
    client = client_of(loaded(tiny_vit()))
    first, second, other = (client.post("/api/pictures", content=picture(n)).json()["id"] for n in (1, 1, 2))
    assert first == second != other and len(first) == 32 and int(first, 16)


def test_two_models_see_the_same_picture_each_in_its_way() -> None:
    small, large = loaded(tiny_vit(1)), loaded(tiny_vit(2, image_size=(24, 16), num_heads=4))
    client = client_of(small, large)
    identity = client.post("/api/pictures", content=picture(5)).json()["id"]
    told = client.get("/api/state").json()["models"]
    assert [each["id"] for each in told] == ["0", "1"] and [each["name"] for each in told] == ["model 0", "model 1"]
    for number, (model, patches) in enumerate(((small, 12), (large, 48))):
        answer = client.get(f"/api/attention?model={number}&picture={identity}")
        weights = unpacked(answer.content)[0]["weights"]
        assert weights.shape == (2, model.model.config.num_heads, patches + 1, patches + 1)
        np.testing.assert_allclose(weights.astype(np.float64).sum(-1), 1, atol=2e-2)
    assert client.get(f"/api/predict?model=2&picture={identity}").status_code == 404
