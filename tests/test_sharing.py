"""Cards that say everything, a dry run that sends nothing, a push that sends what was said."""

import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from dcar_edu import DCAR, HybridTokenizer, MaskedGenerator, parts, sharing
from dcar_edu.sharing import ModelCard, card_text, share, write_card

from .standins import GENERATOR, TOKENIZER, text_encoder

CARD = ModelCard(
    name="my foxes",
    license="cc-by-4.0",
    starts_from="emoji-128",
    data="40 foxes.",
    rights="I drew them.",
    training="The decoder.",
    results="| a | b |",
    limits="No owls.",
    use="To look at.",
    prompt='a "red" fox\'s den',
    guidance=1.5,
)


@pytest.fixture
def model():
    torch.manual_seed(2)
    tokenizer, generator = HybridTokenizer(TOKENIZER), MaskedGenerator(GENERATOR)
    return DCAR(tokenizer, generator, text_encoder("minilm"))


@pytest.fixture
def folder(model, tmp_path):
    """A model ready to be shared, and three things beside it that are nobody's business."""
    folder = model.save_pretrained(tmp_path / "mine", dtype=torch.float32)
    Image.new("RGB", (8, 8)).save(folder / "four [1].png")
    write_card(folder, replace(CARD, pictures={"four [1].png": "Four foxes"}))
    (folder / "pictures").mkdir()
    (folder / "pictures" / "secret.png").write_bytes(b"x")
    (folder / "generator" / "state.pt").write_bytes(b"x")
    (folder / ".env.json").write_bytes(b"x")
    return folder


GOES = {
    "README.md",
    "config.json",
    "four [1].png",
    "generator/config.json",
    "generator/model.safetensors",
    "tokenizer/config.json",
    "tokenizer/model.safetensors",
}
STAYS = (".env.json", "generator/state.pt", "pictures/secret.png")


def test_a_card_holds_every_field_and_a_head_that_the_hub_reads():
    text = card_text(replace(CARD, pictures={"a.png": "Four foxes"}), "me/foxes")
    hub = pytest.importorskip("huggingface_hub").ModelCard(text).data
    assert (hub.license, hub.library_name, hub.pipeline_tag) == (
        "cc-by-4.0",
        "dcar_edu",
        "text-to-image",
    )
    for field in ("name", "starts_from", "data", "rights", "training", "results", "limits", "use"):
        assert getattr(CARD, field) in text
    assert "![Four foxes](a.png)" in text
    assert 'DCAR.from_pretrained("me/foxes")' in text
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")  # the prompt's quotes do not end the string
    assert "guidance=1.5" in code


@pytest.mark.parametrize("field", ["license", "rights", "limits", "results", "prompt"])
def test_a_card_with_a_blank_is_refused(field):
    with pytest.raises(ValueError, match=f"must say something about: {field}"):
        replace(CARD, **{field: " \n"})


def test_a_card_shows_only_what_is_there(folder):
    with pytest.raises(ValueError, match="the card shows gone.png"):
        write_card(folder, replace(CARD, pictures={"gone.png": "x"}))


def test_a_dry_run_says_what_would_go_and_touches_nothing(folder):
    class Nobody:
        def __getattr__(self, name):
            raise AssertionError(f"a dry run asked for {name}")

    plan = share(folder, "me/foxes", api=Nobody())
    assert set(plan.files) == GOES
    assert plan.stays == STAYS
    assert plan.files["README.md"] == (folder / "README.md").stat().st_size
    assert plan.size == sum((folder / name).stat().st_size for name in GOES)
    text = str(plan)
    assert f"{plan.size:,d} bytes  in 7 files, to me/foxes" in text
    assert "stays here: .env.json, generator/state.pt, pictures/secret.png" in text
    assert "dry run: nothing has left this machine" in text


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The real client's code, with the Hub itself replaced by a folder."""
    client = pytest.importorskip("huggingface_hub").HfApi()
    store, told = tmp_path / "hub", []

    def create_repo(repo, **options):
        told.append((repo, options))
        return f"https://hub/{repo}"

    def create_commit(repo_id, operations, commit_message, **_):
        told.append((repo_id, commit_message))
        for operation in operations:
            with operation.as_file() as file:
                place = store / operation.path_in_repo
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file.read())
        raise StopIteration  # what the client makes of the answer is not ours

    monkeypatch.setattr("huggingface_hub.hf_api.is_xet_available", lambda: False)
    monkeypatch.setattr(client, "_validate_yaml", lambda *_, **__: None)  # asks the Hub
    monkeypatch.setattr(client, "create_repo", create_repo)
    monkeypatch.setattr(client, "create_commit", create_commit)
    upload = client.upload_folder

    def upload_folder(**options):
        try:
            upload(**options)
        except StopIteration:
            return

    monkeypatch.setattr(client, "upload_folder", upload_folder)
    return client, store, told


def test_a_push_sends_what_the_dry_run_said_and_it_loads_back(folder, model, hub, monkeypatch):
    client, store, told = hub
    said = share(folder, "me/foxes")
    done = share(folder, "me/foxes", dry_run=False, api=client)
    assert {p.relative_to(store).as_posix() for p in store.rglob("*") if p.is_file()} == GOES
    assert done.files == said.files
    assert "pushed: https://hub/me/foxes" in str(done)
    assert told == [
        ("me/foxes", {"private": True, "exist_ok": True}),
        ("me/foxes", "Upload mine"),
    ]
    shutil.rmtree(folder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name: str(store))
    monkeypatch.setattr(parts, "load_text_encoder", text_encoder)
    loaded = DCAR.from_pretrained("me/foxes")
    one, other = (m.generate(["a fox"], num_steps=3, seed=4)[0] for m in (model, loaded))
    assert one.tobytes() == other.tobytes()


def test_a_refusal_of_the_hub_is_one_sentence(folder):
    class Closed:
        def create_repo(self, *_, **__):
            raise OSError("401 Unauthorized")

    with pytest.raises(ValueError, match="cannot push to 'me/foxes': 401.*hf auth login"):
        share(folder, "me/foxes", dry_run=False, api=Closed())


def test_what_cannot_be_shared_is_said(folder, tmp_path, monkeypatch):
    for name in ("foxes", "me/foxes/2", "me/", "../me foxes"):
        with pytest.raises(ValueError, match="a Hub id reads"):
            share(folder, name)
    with pytest.raises(ValueError, match=r"config.json, generator/config.json, README.md is miss"):
        share(tmp_path / "nowhere", "me/foxes")
    (folder / "README.md").unlink()
    with pytest.raises(
        ValueError, match=r"not ready to be shared: README.md is missing.*write_card"
    ):
        share(folder, "me/foxes")


def test_patterns_fit_one_path_only():
    from fnmatch import fnmatch

    for name in ("a[1].png", "a*.png", "a?.png"):
        pattern = sharing._literal(name)
        assert fnmatch(name, pattern)
        assert not fnmatch("a1.png", pattern)
