"""Reading official folders: full-size names, both containers, and every refusal."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dcar_edu.checkpoint import save_tensors
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.interop import load_dc_ar, load_dc_ht
from dcar_edu.interop.dc_ar import POSITIONS, generator_names
from dcar_edu.interop.dc_ht import tokenizer_config, tokenizer_names
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig

CASES = Path(__file__).parent / "cases"
LOAD = {"dcht_tiny_f16": load_dc_ht, "dcar_tiny": load_dc_ar}


@pytest.fixture
def copied(tmp_path):
    """A case's checkpoint in a folder of its own, its config and weights changed at will."""

    def copy(case, config=None, weights=None):
        content = json.loads((CASES / case / "config.json").read_text())
        tensors = load_file(CASES / case / "model.safetensors")
        for change, value in ((config, content), (weights, tensors)):
            if change:
                change(value)
        (tmp_path / "config.json").write_text(json.dumps(content))
        save_file(tensors, tmp_path / "model.safetensors")
        return tmp_path

    return copy


def listed(name):
    return {key: tuple(shape) for key, shape in json.loads((CASES / name).read_text()).items()}


def shapes(model, names):
    state = model.state_dict()
    return {official: tuple(state[ours].shape) for ours, official in names.items()}


@pytest.mark.parametrize("size", ["f32", "f16"])
def test_full_size_tokenizer_has_the_official_keys(size):
    config = tokenizer_config({"model_name": f"dc-ae-{size}-in-1.0", "quantizer_type": "hybrid_vq"})
    with torch.device("meta"):
        model = HybridTokenizer(config)
    assert shapes(model, tokenizer_names(model)) == listed(f"keys_dcht_{size}.json")


def test_f32_is_the_preset_paper():
    paper = TokenizerConfig.preset("paper", residual_std=None)
    assert tokenizer_config({"model_name": "dc-ae-f32-in-1.0"}) == paper
    assert tokenizer_config({"model_name": "dc-ae-f32-mix-1.0"}) == paper


def test_full_size_generator_has_the_official_keys():
    with torch.device("meta"):
        model = MaskedGenerator(GeneratorConfig.preset("paper"))
    wanted = listed("keys_dcar_512.json")
    assert wanted.pop(POSITIONS) == (1, 256, 1152)
    assert shapes(model, generator_names(model)) == wanted


@pytest.mark.parametrize("case", LOAD)
def test_loaded_models_are_float32_trainable_and_in_eval_mode(case, copied):
    def halve(tensors):
        for key, tensor in tensors.items():
            if tensor.is_floating_point():
                tensors[key] = tensor.half()

    model = LOAD[case](copied(case, weights=halve))
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())


@pytest.mark.parametrize("case", LOAD)
def test_weights_from_shards_and_from_a_bin_are_the_same(case, copied, monkeypatch):
    folder = copied(case)
    want = LOAD[case](folder).state_dict()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    def weights_only_loader(path, *, map_location, weights_only):
        assert (path, map_location, weights_only) == (folder / "pytorch_model.bin", "cpu", True)
        return tensors

    with monkeypatch.context() as patch:
        patch.setattr("dcar_edu.interop.files.torch.load", weights_only_loader)
        from_bin = LOAD[case](folder).state_dict()
    save_tensors(folder, tensors)
    from_safetensors = LOAD[case](folder).state_dict()  # preferred when both are there
    for got in (from_bin, from_safetensors):
        assert all(torch.equal(want[key], value) for key, value in got.items())


@pytest.mark.parametrize("case", LOAD)
def test_wrong_keys_are_listed(case, copied):
    def spoil(tensors):
        first, second = sorted(k for k in tensors if k.endswith("bias"))[:2]
        tensors["extra.weight"] = torch.zeros(2)
        tensors[second] = torch.zeros(1, 1)
        spoil.missing, spoil.wrong = first, second
        del tensors[first]

    folder = copied(case, weights=spoil)
    with pytest.raises(ValueError, match="do not fit") as error:
        LOAD[case](folder)
    text = str(error.value)
    assert f"missing ['{spoil.missing}']" in text
    assert "unknown ['extra.weight']" in text
    assert f"wrong shape ['{spoil.wrong} (1, 1) instead of" in text


CALLS_EXIT = b"cbuiltins\nexit\n(I3\ntR."
"""A pickle, spelt out: "call exit(3)". A loader that trusts its file ends the program."""
ONE_NUMBER = b"I3\n."


def test_a_bin_may_hold_nothing_but_tensors(copied, monkeypatch):
    folder = copied("dcar_tiny")
    (folder / "model.safetensors").unlink()
    for content in (CALLS_EXIT, ONE_NUMBER, b""):
        (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(ValueError, match="Only plain tensors are read"):
            load_dc_ar(folder)
    for content in ({"state_dict": {}, "step": 3}, [torch.zeros(1)]):
        monkeypatch.setattr(
            "dcar_edu.interop.files.torch.load", lambda *_, content=content, **__: content
        )
        with pytest.raises(ValueError, match="plain dictionary of tensors"):
            load_dc_ar(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match="cannot read weights"):
        load_dc_ar(folder)


def test_config_must_be_readable(tmp_path):
    with pytest.raises(ValueError, match="no readable config"):
        load_dc_ht(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold a JSON object"):
        load_dc_ht(tmp_path)


def at(path, value):
    """Set a dotted path of a config."""

    def change(config):
        *way, last = path.split(".")
        for name in way:
            config = config[name]
        config[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (at("model_type", "vae"), "'model_type' must be one of"),
        (at("quantizer_type", "lfq"), "'quantizer_type' must be one of"),
        (at("fixture_arch.encoder", {}), "lacks 'width_list'"),
        (at("fixture_arch.decoder.width_list", [8, 8, 16, 32, 64]), "the same 'width_list'"),
        (at("fixture_arch.encoder.depth_list", [1, 1, 1, 1, 1]), "exactly the first stage"),
        (at("fixture_arch.encoder.norm", "trms2d"), "'norm' must be one of"),
        (at("fixture_arch.decoder.norm", ["bn2d"] * 4 + ["trms2d"]), "'norm' must be out of"),
    ],
)
def test_other_tokenizers_are_refused(change, says, copied):
    with pytest.raises(ValueError, match=says):
        load_dc_ht(copied("dcht_tiny_f16", config=change))


def test_model_name_must_be_known(copied):
    def change(config):
        del config["fixture_arch"]
        config["model_name"] = "dc-ae-f32-proxy-in-1.0"

    with pytest.raises(ValueError, match="'model_name' must be one of .*proxy"):
        load_dc_ht(copied("dcht_tiny_f16", config=change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (at("model.type", "vq_dc_ae_reasoning"), "'model.type' must be one of"),
        (at("model.generator.qk_norm", False), "qk_norm"),
        (at("model.generator.ffn_type", "glu"), "ffn_type"),
        (at("model.generator.pe_interpolation", 1.7), "must be a whole number"),
        (at("model.generator.base_size", 8), "other position vectors"),
        (at("model.generator.image_seq_len", 64), "must have shape .1, 64, 64."),
        (at("model.generator.diffusion", {}), "lacks 'diffusion.width'|lacks 'sampler'"),
    ],
)
def test_other_generators_are_refused(change, says, copied):
    with pytest.raises(ValueError, match=says):
        load_dc_ar(copied("dcar_tiny", config=change))


def test_positions_must_be_stored(copied):
    with pytest.raises(ValueError, match="no such key"):
        load_dc_ar(copied("dcar_tiny", weights=lambda tensors: tensors.pop(POSITIONS)))


def test_config_reaches_every_field():
    """Fields that no stored tensor would notice."""
    config = load_dc_ar(CASES / "dcar_tiny").config
    assert (config.residual_clip, config.learned_variance, config.grid) == (1.0, True, (4, 4))
    assert (config.text_encoder, config.text_length) == ("google-t5/t5-base", 12)
    assert (config.residual_scale, config.diffusion_repeats) == (0.107, 4)
    tokenizer = load_dc_ht(CASES / "dcht_tiny_nol2").config
    assert (tokenizer.normalize_codes, tokenizer.commitment) == (False, 0.25)
