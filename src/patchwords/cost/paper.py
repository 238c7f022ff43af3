"""Figures of the paper that the cost formula is held against (2010.11929v2, tables 1, 2, 6, 9 and sec. 4)."""

from __future__ import annotations

from dataclasses import dataclass

JFT_PICTURES = 303e6
"""pictures of one epoch of pre-training (sec. 4.1)"""


@dataclass(frozen=True)
class Scaled:
    """A row of table 6: pre-trained on JFT-300M, fine-tuned on each set."""

    name: str
    epochs: int
    imagenet: float
    """accuracy, %"""
    real: float
    cifar10: float
    cifar100: float
    pets: float
    flowers: float
    exaflops: float
    """of pre-training, 10^18 operations"""

    @property
    def mean(self) -> float:
        """Mean accuracy of five sets, all but ReaL, as table 7 averages."""
        return (self.imagenet + self.cifar10 + self.cifar100 + self.pets + self.flowers) / 5

    @property
    def label(self) -> str:
        """Name and epochs."""
        return f"{self.name}, {self.epochs} epochs"


VITS = (
    Scaled("ViT-B/32", 7, 80.73, 86.27, 98.61, 90.49, 93.40, 99.27, 55),
    Scaled("ViT-B/16", 7, 84.15, 88.85, 99.00, 91.87, 95.80, 99.56, 224),
    Scaled("ViT-L/32", 7, 84.37, 88.28, 99.19, 92.52, 95.83, 99.45, 196),
    Scaled("ViT-L/16", 7, 86.30, 89.43, 99.38, 93.46, 96.81, 99.66, 783),
    Scaled("ViT-L/16", 14, 87.12, 89.99, 99.38, 94.04, 97.11, 99.56, 1567),
    Scaled("ViT-H/14", 14, 88.08, 90.36, 99.50, 94.71, 97.11, 99.71, 4262),
)
RESNETS = (
    Scaled("ResNet50x1", 7, 77.54, 84.56, 97.67, 86.07, 91.11, 94.26, 50),
    Scaled("ResNet50x2", 7, 82.12, 87.94, 98.29, 89.20, 93.43, 97.02, 199),
    Scaled("ResNet101x1", 7, 80.67, 87.07, 98.48, 89.17, 94.08, 95.95, 96),
    Scaled("ResNet152x1", 7, 81.88, 87.96, 98.82, 90.22, 94.17, 96.94, 141),
    Scaled("ResNet152x2", 7, 84.97, 89.69, 99.06, 92.05, 95.37, 98.62, 563),
    Scaled("ResNet152x2", 14, 85.56, 89.89, 99.24, 91.92, 95.75, 98.75, 1126),
    Scaled("ResNet200x3", 14, 87.22, 90.15, 99.34, 93.53, 96.32, 99.04, 3306),
)
HYBRIDS = (
    Scaled("R50x1+ViT-B/32", 7, 84.90, 89.15, 99.01, 92.24, 95.75, 99.46, 106),
    Scaled("R50x1+ViT-B/16", 7, 85.58, 89.65, 99.14, 92.63, 96.65, 99.40, 274),
    Scaled("R50x1+ViT-L/32", 7, 85.68, 89.04, 99.24, 92.93, 96.97, 99.43, 246),
    Scaled("R50x1+ViT-L/16", 7, 86.60, 89.72, 99.18, 93.64, 97.03, 99.40, 859),
    Scaled("R50x1+ViT-L/16", 14, 87.12, 89.76, 99.31, 93.89, 97.36, 99.11, 1668),
)

ZOO_NAMES = {
    "ViT-B/32": "vit_base_patch32_224",
    "ViT-B/16": "vit_base_patch16_224",
    "ViT-L/32": "vit_large_patch32_224",
    "ViT-L/16": "vit_large_patch16_224",
    "ViT-H/14": "vit_huge_patch14_224",
}
"""name of the paper -> ours"""

TABLE_1 = {"ViT-B/16": 86, "ViT-L/16": 307, "ViT-H/14": 632}
"""millions of parameters"""

TABLE_9 = {
    "ViT-H/14 (JFT)": (
        (
            95.3,
            85.5,
            75.2,
            99.7,
            97.2,
            65.0,
            88.9,
            83.3,
            96.7,
            91.4,
            76.6,
            91.7,
            63.8,
            53.1,
            79.4,
            63.3,
            84.5,
            33.2,
            51.2,
        ),
        77.6,
    ),
    "ViT-L/16 (JFT)": (
        (
            95.4,
            81.9,
            74.3,
            99.7,
            96.7,
            63.5,
            87.4,
            83.6,
            96.5,
            89.7,
            77.1,
            86.4,
            63.1,
            49.7,
            74.5,
            60.5,
            82.2,
            36.2,
            51.1,
        ),
        76.3,
    ),
    "ViT-L/16 (I21k)": (
        (
            90.8,
            84.1,
            74.1,
            99.3,
            92.7,
            61.0,
            80.9,
            82.5,
            95.6,
            85.2,
            75.3,
            70.3,
            56.1,
            41.9,
            74.7,
            64.9,
            79.9,
            30.5,
            41.7,
        ),
        72.7,
    ),
}
"""model -> (accuracy on the 19 tasks of VTAB-1k, %; the mean as printed)"""

CORE_DAYS_L16_I21K = 230
"""TPUv3 core-days of ViT-L/16 on ImageNet-21k (table 2)"""

GMACS_B16 = {224: 17.5, 384: 55.5}
"""pixels -> 10^9 multiply-adds of B/16 as the code of DeiT III (2204.07118) lists them"""
