"""The exhibits there are: what each shows, what a healthy one looks like, what it needs, and who measures it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import ConfigError, nearest
from .attributions import see_attribution
from .features import see_components, see_lens, see_nearest
from .finding import Finding
from .heads import see_distance
from .maps import see_attention, see_rollout
from .streams import NORM_PICTURES, see_norms, see_receptive, see_similarity
from .subject import DEAR_GFLOP, Report, Subject
from .weights import see_filters, see_position

See = Callable[[Subject, Subject | None, Report], Finding]


@dataclass(frozen=True)
class Exhibit:
    """One thing to look at."""

    name: str
    title: str
    shows: str
    """one sentence"""
    healthy: str
    """one sentence: what a well-trained model's looks like"""
    paper: str
    """the figure it corresponds to"""
    needs: tuple[str, ...]
    """of pictures, attention, positions, a head: without these it does not apply"""
    see: See
    passes: Callable[[Subject], float]
    """about how many pictures' way through the model it costs, for the time that is left"""


_EXHIBITS = (
    Exhibit(
        "distance",
        "Attention distance",
        "How far each head looks: the mean distance in pixels between a patch and those it attends to.",
        "Low layers have heads of all reaches, some of them already global; the mean grows with depth, and the upper "
        "half is mostly global. After little training data the local heads of low layers may be missing "
        "(2108.08810, sec. 5).",
        "2010.11929, fig. 7 right and fig. 11",
        ("attention", "pictures"),
        see_distance,
        lambda subject: 1.5 * len(subject),
    ),
    Exhibit(
        "rollout",
        "Attention rollout",
        "Which patches reach the answer when attention is multiplied through all layers, skip connections included.",
        "The lit part is the object that the answer names; a model that averages its patches shows a weaker picture "
        "than one with a class token.",
        "2010.11929, fig. 6 and fig. 14",
        ("attention", "pictures"),
        see_rollout,
        lambda subject: 1.5 * subject.shown,
    ),
    Exhibit(
        "attention",
        "Attention maps",
        "What the token that answers attends to, in each layer and head, on single pictures.",
        "Low layers look at neighbourhoods and edges, high ones at the object; heads differ from one another, and no "
        "head gives everything to one background patch.",
        "2010.11929, sec. 4.5 (fig. 6 is made of these)",
        ("attention", "pictures"),
        see_attention,
        lambda subject: 1.5 * subject.shown,
    ),
    Exhibit(
        "filters",
        "Patch-embedding filters",
        "The leading principal components of the matrix that turns the pixels of a patch into a token.",
        "Smooth pictures like a basis for the fine structure of a patch: plain colours, ramps and waves; noise in the "
        "first ones means too little training.",
        "2010.11929, fig. 7 left",
        (),
        see_filters,
        lambda subject: 1,
    ),
    Exhibit(
        "position",
        "Positions",
        "How alike the position vectors of every two patches are; where positions are relative, what each head adds "
        "to the scores of its neighbours.",
        "Each patch is most like its neighbours, and patches of one row or column are alike; the map of each patch "
        "peaks at its own place.",
        "2010.11929, fig. 7 centre and fig. 10",
        ("positions",),
        see_position,
        lambda subject: 1,
    ),
    Exhibit(
        "attribution",
        "Attribution",
        "What speaks for the answer by several methods, and how quickly the answer goes when patches are taken away "
        "in that order.",
        "The maps lie on the object, agree with one another, and their curves fall faster and rise faster than those "
        "of a random order; a map that does not beat the random order explains nothing.",
        "none; 1703.01365, 1610.02391, 2103.15679, 1806.07421",
        ("a head", "pictures"),
        see_attribution,
        lambda subject: (
            (500 if subject.cheap else 110 if subject.gflop < DEAR_GFLOP else 24) * min(subject.shown, len(subject))
        ),
    ),
    Exhibit(
        "lens",
        "Answers of earlier layers",
        "What the head would answer if an earlier layer were the last, for the picture and for each patch by itself.",
        "Agreement with the final answer rises with depth, and patches on the object answer it first.",
        "none; 2310.18969",
        ("a head", "pictures"),
        see_lens,
        lambda subject: 1.4 * len(subject),
    ),
    Exhibit(
        "components",
        "Features as colours",
        "The patch tokens of the last layer, their three leading components shown as red, green and blue.",
        "Like parts have like colours in all pictures, and objects stand out from the ground.",
        "none; 2304.07193, fig. 1",
        ("pictures",),
        see_components,
        lambda subject: 1.3 * len(subject),
    ),
    Exhibit(
        "nearest",
        "Nearest pictures",
        "The pictures whose features are most alike to those of the pictures shown.",
        "Neighbours show the same kind of thing, not merely the same colours; a neighbour with a cosine of 1 is the "
        "same picture.",
        "none",
        ("pictures",),
        see_nearest,
        lambda subject: len(subject.gallery.pixels) if subject.gallery else len(subject),
    ),
    Exhibit(
        "similarity",
        "Similarity of layers",
        "How alike the layers are in what they say of the pictures: linear CKA, unbiased for minibatches.",
        "Near layers are alike and the change is gradual; ViTs are more uniform than CNNs, whose stages show as "
        "blocks.",
        "none; 2108.08810, fig. 1 and fig. 2",
        ("pictures",),
        see_similarity,
        lambda subject: 1.1 * len(subject),
    ),
    Exhibit(
        "norms",
        "Skip against branch",
        "How much larger what skips attention and MLP is than what they add.",
        "With a class token, skips carry it in the lower half and the patches in the upper half; a branch whose ratio "
        "is in the hundreds does nothing.",
        "none; 2108.08810, fig. 8",
        ("pictures",),
        see_norms,
        lambda subject: 1.1 * min(NORM_PICTURES, len(subject)),
    ),
    Exhibit(
        "receptive",
        "Receptive field",
        "Which pixels move the centre token of a layer: the mean size of a gradient, and what it can see at all.",
        "It grows with depth; unlike a CNN's it reaches over the whole picture early, with a strong centre kept by the "
        "skip connections.",
        "none; 2108.08810, fig. 6",
        ("pictures",),
        see_receptive,
        lambda subject: 30,
    ),
)

EXHIBITS = {exhibit.name: exhibit for exhibit in _EXHIBITS}
"""name -> exhibit, in the order of the report"""


def choose_exhibits(names: Iterable[str]) -> tuple[Exhibit, ...]:
    """Return the exhibits of these names in the order of the report; all when there is no name.

    Raises:
        ConfigError: there is no such exhibit; names the nearest.
    """
    wanted = list(names)
    for name in wanted:
        if name not in EXHIBITS:
            raise ConfigError(f"there is no exhibit {name!r}", where="--only", fix=nearest(name, EXHIBITS))
    return tuple(exhibit for exhibit in _EXHIBITS if not wanted or exhibit.name in wanted)


def listed() -> str:
    """Return a Markdown table of all exhibits, as docs/inspection.md has it."""
    lines = ["| name | shows | a healthy one | figure | needs |", "|---|---|---|---|---|"]
    for each in _EXHIBITS:
        needs = ", ".join(each.needs) or "nothing"
        lines.append(f"| `{each.name}` | {each.shows} | {each.healthy} | {each.paper} | {needs} |")
    return "\n".join(lines)
