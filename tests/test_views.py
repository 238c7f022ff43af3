"""Views of one picture: what they are, and that their probabilities are averaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import patchwords
from patchwords.cli import main
from patchwords.errors import ConfigError
from patchwords.views import AveragedViews, moved


class Corners(nn.Module):
    """Logits of a picture: its first pixel, and its last."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([images[:, 0, 0, 0], images[:, 0, -1, -1]], dim=1)


def test_a_picture_is_moved_by_pixels_and_its_edge_repeated() -> None:
    picture = torch.arange(9).reshape(1, 1, 3, 3)
    assert moved(picture, 1, 1).tolist() == [[[[0, 0, 1], [0, 0, 1], [3, 3, 4]]]]
    assert moved(picture, -1, 0).tolist() == [[[[3, 4, 5], [6, 7, 8], [6, 7, 8]]]]


def test_one_view_is_the_model_itself() -> None:
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(AveragedViews(Corners(), 1)(images), Corners()(images))


def test_two_views_are_the_picture_and_its_mirror_image() -> None:
    images = torch.randn(2, 3, 4, 4)
    both = Corners()(images).softmax(1), Corners()(images.flip(-1)).softmax(1)
    torch.testing.assert_close(AveragedViews(Corners(), 2)(images).exp(), (both[0] + both[1]) / 2)


def test_six_views_are_also_moved_by_a_pixel_along_the_diagonal() -> None:
    images = torch.randn(2, 3, 4, 4)
    seen = [images, moved(images, -1, -1), moved(images, 1, 1)]
    wanted = sum(Corners()(view).softmax(1) + Corners()(view.flip(-1)).softmax(1) for view in seen) / 6
    torch.testing.assert_close(AveragedViews(Corners(), 6)(images).exp(), wanted)


def test_other_numbers_of_views_are_refused() -> None:
    with pytest.raises(ConfigError, match="1, 2, 6"):
        AveragedViews(Corners(), 3)


def test_views_of_a_trained_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    patchwords.train("digits", run, train__steps=5, model__depth=1, train__eval_epochs=0)
    capsys.readouterr()
    assert main(["eval", run, "--views", "2", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["total"] == patchwords.evaluate(run).total
    assert measured["loss"] != patchwords.evaluate(run).loss
    assert measured["top1"] == patchwords.evaluate(run, views=2).top1
    assert main(["eval", run, "--views", "2"]) == 0
    assert "right (mean of 2 views)" in capsys.readouterr().out
    assert main(["eval", run, "--views", "4"]) == 2
