"""The folder of a run: settings that came after a run was begun leave it as it was."""

from __future__ import annotations

import hashlib

import yaml

from patchwords import files
from patchwords.config import RunConfig
from patchwords.models.zoo import model_config
from patchwords.overrides import to_dict
from patchwords.training import folder


def test_a_run_begun_before_a_setting_goes_on_without(tmp_path):
    """Its config.yaml lacks the setting, and the hash in its saved states was taken without it."""
    sections = to_dict(RunConfig())
    for name in folder.CAME_LATER:
        section, field = name.split(".")
        del sections[section][field]
    (tmp_path / folder.CONFIG).write_text(yaml.safe_dump(sections))
    run = folder.read_config(tmp_path)
    assert run.data.scaled_decode is False and run.model.merge == 0
    del sections["transfer"]
    flat = {f"{section}.{name}": value for section, named in sections.items() for name, value in named.items()}
    deciding = {name: value for name, value in flat.items() if name not in folder.WITHOUT_EFFECT}
    assert folder.settings_hash(run) == hashlib.sha256(files.json_line(deciding).encode()).hexdigest()


def test_other_kinds_of_models_lack_the_settings_of_a_vit(tmp_path):
    run = RunConfig(model=model_config("cnn_tiny_params_32", image_size=224))
    (tmp_path / folder.CONFIG).write_text(yaml.safe_dump(to_dict(run)))
    assert folder.read_config(tmp_path) == run
    assert folder.settings_hash(run) != folder.settings_hash(RunConfig())


def test_merging_decides_a_result():
    merging = RunConfig(model=model_config("vit_tiny_patch16_224", merge=4))
    assert folder.settings_hash(merging) != folder.settings_hash(RunConfig(model=model_config("vit_tiny_patch16_224")))


def test_scaled_decoding_decides_a_result():
    plain, scaled = RunConfig(), RunConfig()
    object.__setattr__(plain, "data", type(plain.data)(scaled_decode=False))
    assert folder.settings_hash(plain) != folder.settings_hash(scaled)
