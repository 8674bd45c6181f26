"""Model folders of transformers and sentence-transformers, built and saved by the test itself."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifeloop.encoders import OnnxText, SentenceModel, Transformer, choose, open_encoder
from lifeloop.encoders.readable import folder_digest
from lifeloop.errors import InputError
from lifeloop.text_settings import TextEncoding

pytestmark = pytest.mark.extras

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXTS = ["绿茶 茶叶", "电吉他 初学者", "green tea", "绿茶。" * 400, "女士真皮钱包,红色"]
LETTERS = "绿茶叶电吉他初学者女士真皮钱包红色。,"


def vocabulary(folder: Path) -> Path:
    more = [chr(c) for c in range(0x4E00, 0x4E00 + 2500)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "green", "tea", *LETTERS, *more]
    path = folder / "vocab.txt"
    path.write_text("\n".join(dict.fromkeys(words)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Chinese BERT saved with its masked-word head, as bert-base-chinese is."""
    folder = tmp_path_factory.mktemp("bert-tiny-chinese")
    tokenizer = transformers.BertTokenizerFast(str(vocabulary(folder)))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roberta-tiny")
    tokenizer = transformers.BertTokenizerFast(str(vocabulary(folder)))
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=34, pad_token_id=1, type_vocab_size=1,
    )  # fmt: skip
    transformers.RobertaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def by_hand(folder: Path, text: str, how: str) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModel.from_pretrained(str(folder)).eval()
    asked = tokenizer([text], truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**asked).last_hidden_state[0].numpy()  # [t, d], no padding
    made = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.max(0), "last": hidden[-1]}[how]
    return made / np.linalg.norm(made)


@pytest.mark.parametrize("how", ["mean", "cls", "max", "last"])
def test_every_pooling_equals_the_hand_made_one_without_padding(bert: Path, how: Any) -> None:
    encoder = Transformer(bert, pooling=how)
    vectors, mask = encoder.encode(TEXTS)  # one batch: short texts are padded
    assert mask.all()
    assert encoder.d == 32
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, by_hand(bert, text[:1000], how), atol=1e-5)


def test_a_checkpoint_without_a_pooling_of_its_own_is_averaged(bert: Path) -> None:
    np.testing.assert_array_equal(
        Transformer(bert).encode(TEXTS)[0], Transformer(bert, pooling="mean").encode(TEXTS)[0]
    )
    ids = {Transformer(bert, pooling=how).id for how in ("mean", "cls", "max", "last")}
    assert len(ids) == 4


def test_prefixes_are_for_their_side_only(bert: Path) -> None:
    encoder = Transformer(bert, item_prefix="茶", query_prefix="红")
    plain = Transformer(bert)
    np.testing.assert_allclose(
        encoder.encode(["电吉他"])[0], plain.encode(["茶电吉他"])[0], atol=1e-6
    )
    np.testing.assert_allclose(
        encoder.for_queries().encode(["电吉他"])[0], plain.encode(["红电吉他"])[0], atol=1e-6
    )
    assert encoder.id != encoder.for_queries().id


def test_roberta_reads_no_more_than_its_positions_less_its_padding(roberta: Path) -> None:
    vectors, mask = Transformer(roberta).encode(["绿茶" * 300, "茶"])
    assert mask.all()
    assert np.isfinite(vectors).all()
    cut = Transformer(roberta).encode(["绿茶" * 15])[0]  # 30 letters and two marks: 32 positions
    np.testing.assert_allclose(vectors[0], cut[0], atol=1e-5)


def test_nothing_to_read_and_wild_texts(bert: Path) -> None:
    wild = ["", "<br>", "\x00\x07", "🎉🎉", "茶" * 100_000, "<script>x</script>茶", "x\ud800茶"]
    vectors, mask = Transformer(bert).encode(wild)
    assert mask.tolist() == [False, False, False, True, True, True, True]
    assert np.isfinite(vectors).all()
    assert not vectors[:3].any()


def test_unknown_tokens(bert: Path) -> None:
    told = Transformer(bert).unknown(["绿茶", "green tea", "russian чай", "🎉"])
    np.testing.assert_allclose(told, [0, 0, 1, 1])


def test_threads_get_the_same_vectors(bert: Path) -> None:
    encoder = Transformer(bert)
    single = encoder.encode(TEXTS)[0]
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda _: encoder.encode(TEXTS)[0], range(8)))
    for vectors in many:
        np.testing.assert_allclose(vectors, single, atol=1e-5)


DAMAGE: dict[str, Any] = {
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "cut weights": lambda f: _cut(f / "model.safetensors", 0.5),
    "weights cut in the header": lambda f: _cut(f / "model.safetensors", 0.001),
    "empty weights": lambda f: (f / "model.safetensors").write_bytes(b""),
    "no tokenizer": lambda f: [p.unlink() for p in f.glob("*") if _of_tokenizer(p)],
    "config is not JSON": lambda f: (f / "config.json").write_text("{"),
    "config of another width": lambda f: _replace(f / "config.json", '"hidden_size": 32', 64),
    "config with more layers": lambda f: _replace(f / "config.json", '"num_hidden_layers": 2', 3),
    "no config": lambda f: (f / "config.json").unlink(),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_an_incomplete_folder_is_refused(bert: Path, tmp_path: Path, case: str) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "copy"))
    DAMAGE[case](folder)
    with pytest.raises(InputError, match=r"folder|config"):
        Transformer(folder).encode(["绿茶"])


def test_the_digest_covers_the_whole_of_every_file(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "copy"))
    before = folder_digest(folder)
    assert before == folder_digest(bert)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1  # the last bit of the last weight
    weights.write_bytes(bytes(data))
    assert folder_digest(folder) != before
    assert Transformer(folder).id != Transformer(bert).id


def test_a_sentence_model_is_used_as_it_is(bert: Path, tmp_path: Path) -> None:
    models = pytest.importorskip("sentence_transformers.models")
    from sentence_transformers import SentenceTransformer

    body = models.Transformer(str(bert), max_seq_length=32)
    whole = SentenceTransformer(modules=[body, models.Pooling(32, "cls")], device="cpu")
    whole.save(str(tmp_path / "st"))
    encoder = SentenceModel(tmp_path / "st")
    made, mask = encoder.encode(TEXTS[:3])
    assert mask.all()
    np.testing.assert_allclose(made, whole.encode(TEXTS[:3], normalize_embeddings=True), atol=1e-5)
    np.testing.assert_allclose(
        made, Transformer(tmp_path / "st", pooling="cls").encode(TEXTS[:3])[0], atol=1e-5
    )
    opened = open_encoder(str(tmp_path / "st"), TextEncoding(), home=tmp_path)
    assert isinstance(opened, SentenceModel)
    assert encoder.unknown(["绿茶", "чай"]).tolist() == [0.0, 1.0]
    (tmp_path / "st" / "modules.json").write_text("[{}]")
    with pytest.raises(InputError, match="could not be loaded"):
        SentenceModel(tmp_path / "st").encode(["茶"])


def test_names_in_the_settings_open_what_they_say(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "models" / "mine")
    for name in (str(bert), f"hf:{bert}", "models/mine", "hf:models/mine"):
        opened = open_encoder(name, TextEncoding(pooling="max"), home=tmp_path)
        assert isinstance(opened, Transformer)
        assert opened.pools == "max"
    with pytest.raises(InputError, match="no such model folder"):
        open_encoder("./nowhere", TextEncoding(), home=tmp_path)


def test_a_name_that_cannot_be_fetched_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="could not be fetched"):
        open_encoder("hf:nobody/nothing", TextEncoding(), home=tmp_path)


def test_an_export_agrees_with_its_original_and_needs_no_torch(bert: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from lifeloop.encoders.export import export

    for how in ("mean", "max", "cls", "last"):
        made = export(
            bert, tmp_path / how, name="mine", int8=False, pooling=how, probes=TEXTS,
            query_prefix="茶",
        )  # fmt: skip
        assert made["agreement"] >= 0.999
        served = OnnxText(tmp_path / how)
        original = Transformer(bert, pooling=how, query_prefix="茶")
        np.testing.assert_allclose(served.encode(TEXTS)[0], original.encode(TEXTS)[0], atol=1e-4)
        np.testing.assert_allclose(
            served.for_queries().encode(["叶"])[0],
            original.for_queries().encode(["叶"])[0],
            atol=1e-4,
        )
    small = export(bert, tmp_path / "int8", name="mine", probes=TEXTS)
    assert small["precision"] == "int8"
    assert small["agreement"] >= 0.97
    assert served.unknown(["绿茶", "чай"]).tolist() == [0.0, 1.0]
    opened = open_encoder(str(tmp_path / "int8"), TextEncoding(), home=tmp_path)
    assert isinstance(opened, OnnxText)
    chosen = choose(["绿茶", "红茶"], str(tmp_path / "int8"), TextEncoding(), home=tmp_path)
    assert chosen.notes == ()
    for name in ("model.onnx", "tokenizer.json", "lifeloop_encoder.json"):
        broken = Path(shutil.copytree(tmp_path / "int8", tmp_path / f"without {name}"))
        _cut(broken / name, 0.4)
        with pytest.raises(InputError, match="could not be used"):
            OnnxText(broken).encode(["茶"])
        (broken / name).unlink()
        with pytest.raises(InputError, match=f"lacks {name}"):
            OnnxText(broken)


def test_what_stands_beside_a_text_in_a_batch_does_not_count(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    from lifeloop.encoders import onnx
    from lifeloop.encoders.export import export

    export(bert, tmp_path / "plain", name="mine", int8=False, probes=TEXTS)
    served = OnnxText(tmp_path / "plain")
    # as many letters, many or few tokens; more texts than one block or batch holds
    texts = [*TEXTS, *("绿茶" * n + "green" * (9 - n) for n in range(10)), "", "茶"]
    alone = np.concatenate([served.encode([text])[0] for text in texts])
    for block in (3, 7, 1024):
        monkeypatch.setattr(onnx, "BLOCK", block)
        for step in (1, -1):
            vectors, mask = served.encode(texts[::step])
            np.testing.assert_allclose(vectors[::step], alone, atol=1e-5)
            assert mask[::step].tolist() == [bool(text) for text in texts]


def _cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _replace(path: Path, old: str, new: int) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, f"{old.split(':')[0]}: {new}"), encoding="utf-8")


def _of_tokenizer(path: Path) -> bool:
    return "token" in path.name or "vocab" in path.name
